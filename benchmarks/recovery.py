"""The cost of recovery: memory, deliveries, returns, and the hand-over between two gateways."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from time import monotonic, perf_counter, sleep
from typing import Any, Final

import redis

from benchmarks.children import Child, allow_files, program
from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import PATIENCE, connected_to_both
from benchmarks.events import MARK
from benchmarks.figures import Figure, Rival, Series, Target
from benchmarks.gateways import (
    Audience,
    Side,
    Start,
    ours,
    with_recovery,
    with_recovery_and_grace,
)
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time, resident
from benchmarks.scenario import Setting
from opentera_twisted.gateway.recovery.peers import GATEWAYS
from opentera_twisted.holders import DUE
from opentera_twisted.messages import UserEvent

NAME: Final = "recovery"
ROUNDS: Final = 3
CLIENTS: Final = 1_000
MEMORY_TARGET: Final = Target("below", 10.0)
DELIVERIES_TARGET: Final = Target("at least", 0.8)
RETURNS_TARGET: Final = Target("at least", 2.0)

BURST: Final = 200
"""Events of one topic, for each client, in one burst."""

BURSTS: Final = 5

PERSONAL: Final = 50
"""Events on each client's own topic, in one burst."""

RECEIVED: Final = 5
"""Events that each client receives before its connection breaks."""

MISSED: Final = 5
"""Events that each client misses, each on its own topic."""

SETTLED: Final = 0.5
"""Seconds between looks at the gateway's processor time, of which it takes a twentieth at rest."""

POLL: Final = 0.05
"""Seconds between polls of Redis."""

_WITHOUT: Final = "without recovery"
_PATH: Final = "/wss/user"
_UNKNOWN: Final = "/wss/nobody?id=x"

_MEMORY: Final = f"memory each of {CLIENTS:,} with recovery"
_LOGINS: Final = f"{CLIENTS:,} logins until subscribed"
_LOGIN_COST: Final = "gateway's processor time of a login"
_TOPIC: Final = f"one topic, burst, {CLIENTS:,} websockets"
_PERSONAL: Final = f"personal topics, burst, {CLIENTS:,} websockets"
_RETURNS: Final = f"{CLIENTS:,} returns until {MISSED} events each are replayed, beside logins"
_RETURN_COST: Final = "gateway's processor time of a return, beside a login"
_IN_GRACE: Final = f"{CLIENTS:,} returns within the presence grace, beside logins"
_IN_GRACE_COST: Final = "gateway's processor time of such a return, beside a login"
_FLOOR: Final = f"floor: {CLIENTS:,} handshakes refused without Redis, beside logins"
_FLOOR_COST: Final = "gateway's processor time of a refused handshake, beside a login"
_HAND_OVER: Final = f"hand-over of {CLIENTS:,} clients after SIGTERM"
_HAND_OVER_COST: Final = "processor time of both gateways of a hand-over"


def run(setting: Setting) -> list[Figure]:
    """Measure new gateways each round, with recovery and without."""
    allow_files()
    comparison = Comparison({"ours": with_recovery, _WITHOUT: ours}, own={"ours", _WITHOUT})
    comparison.run(setting, NAME, lambda name, start: _measure(setting, name, start))
    logins = comparison.series(_LOGINS, _WITHOUT)
    login_cost = comparison.series(_LOGIN_COST, _WITHOUT)
    returns = comparison.series(_RETURNS, "ours")
    return_cost = comparison.series(_RETURN_COST, "ours")
    floor = comparison.series(_FLOOR, "ours")
    floor_cost = comparison.series(_FLOOR_COST, "ours")
    in_grace, in_grace_cost = Series("ours"), Series("ours")
    for _ in setting.each_round(f"{NAME}, within the grace"):
        _return_within_grace(setting, in_grace, in_grace_cost)
    seconds, cost = Series("ours: two gateways"), Series("ours: two gateways")
    for _ in setting.each_round(f"{NAME}, hand-over"):
        _hand_over(setting, seconds, cost)
    return [
        comparison.figure(NAME, _MEMORY, "KiB", target=MEMORY_TARGET),
        comparison.figure(NAME, _LOGINS, "logins/s"),
        comparison.figure(NAME, _LOGIN_COST, "µs/login"),
        comparison.figure(NAME, _TOPIC, "events/s", beside=DELIVERIES_TARGET),
        comparison.figure(NAME, f"{_TOPIC}: gateway's processor time", "µs/event"),
        comparison.figure(NAME, _PERSONAL, "events/s", beside=DELIVERIES_TARGET),
        comparison.figure(NAME, f"{_PERSONAL}: gateway's processor time", "µs/event"),
        Figure(NAME, _RETURNS, "clients/s", returns, [Rival(logins, RETURNS_TARGET)]),
        Figure(NAME, _RETURN_COST, "µs/client", return_cost, [Rival(login_cost)]),
        Figure(NAME, _IN_GRACE, "clients/s", in_grace, [Rival(logins)]),
        Figure(NAME, _IN_GRACE_COST, "µs/client", in_grace_cost, [Rival(login_cost)]),
        Figure(NAME, _FLOOR, "clients/s", floor, [Rival(logins)]),
        Figure(NAME, _FLOOR_COST, "µs/client", floor_cost, [Rival(login_cost)]),
        Figure(NAME, _HAND_OVER, "s", seconds),
        Figure(NAME, _HAND_OVER_COST, "µs/client", cost),
    ]


def _measure(setting: Setting, name: str, start: Start) -> Measured:
    """Measure one side: idle memory, logins, bursts; of recovery, returns too."""
    values: dict[str, float] = {}
    with ExitStack() as stack:
        side, load, publisher = _logged_in(stack, setting, start, values)
        if name != _WITHOUT:
            with awaiting_reports(setting, CLIENTS, UserEvent.USER_DISCONNECTED) as reported:
                load.ask({"drop": {}})
                reported()
            _miss(stack, side, publisher)
            values[_RETURNS], values[_RETURN_COST] = _measure_returns(side, load)
            load.ask({"drop": {}})
            _refuse(side, values)
        who = side.who
    lost = 0.0
    forget_everyone(setting)
    with connected_to_both(start, setting, CLIENTS) as (shared, personal):
        for what, gateway, each, times in (
            (_TOPIC, shared, BURST, max(1, setting.amount(BURSTS))),
            (_PERSONAL, personal, setting.amount(PERSONAL), 1),
        ):
            delivered = gateway.measure(each, times=times)
            values[what] = delivered.per_second
            values[f"{what}: gateway's processor time"] = delivered.cost
            lost = max(lost, delivered.lost)
    return Measured(who, values, "not all was delivered" if lost else "")


def _return_within_grace(setting: Setting, rates: Series, costs: Series) -> None:
    """Break all connections, and have the clients return before they are reported as gone."""
    with ExitStack() as stack:
        side, load, publisher = _logged_in(stack, setting, with_recovery_and_grace, {})
        load.ask({"drop": {}})
        _wait_for_members(setting, DUE, CLIENTS)
        _miss(stack, side, publisher)
        rate, cost = _measure_returns(side, load)
        rates.samples.append(rate)
        costs.samples.append(cost)


def _hand_over(setting: Setting, seconds: Series, cost: Series) -> None:
    """End a gateway with SIGTERM, and have its clients return to another one."""
    with ExitStack() as stack:
        old, load, publisher = _logged_in(stack, setting, with_recovery, {})
        new = stack.enter_context(with_recovery(setting, Audience.personal(1)))
        _wait_for_members(setting, GATEWAYS, 2)  # places to return to
        before = processor_time(new.pids) + processor_time(old.pids)
        began = perf_counter()
        os.kill(old.pids[0], signal.SIGTERM)
        load.ask({"drop": {}})
        _publish(publisher, MISSED)
        returned = _return(load, new.port)
        seconds.samples.append(returned["started"] + returned["seconds"] - began)
        spent = processor_time(new.pids) + processor_time(old.pids) - before
        cost.samples.append(1e6 * spent / CLIENTS)


def _logged_in(
    stack: ExitStack, setting: Setting, start: Start, values: dict[str, float]
) -> tuple[Side, Child, Child]:
    """Log clients in, measure that, and have each receive its first events.

    Returns:
        The gateway, the load generator and the publisher, which end with the stack.
    """
    audience = Audience.personal(CLIENTS + 1)
    topics = audience.topics[:CLIENTS]
    forget_everyone(setting)
    side = stack.enter_context(start(setting, audience))
    reported = stack.enter_context(awaiting_reports(setting, CLIENTS))
    load = stack.enter_context(program("websocket_load", port=side.port, dialect=side.dialect))
    memory, before = resident(side.pids), processor_time(side.pids)
    opened = load.ask({"open": {"paths": side.paths[:CLIENTS], "topics": topics}})
    values[_LOGINS] = CLIENTS / opened["seconds"]
    reported()
    values[_MEMORY] = (resident(side.pids) - memory) / CLIENTS
    values[_LOGIN_COST] = 1e6 * (processor_time(side.pids) - before) / CLIENTS
    publisher = stack.enter_context(side.publisher(audience.published))
    load.ask({"count": {"mark": MARK, "each": RECEIVED, "within": PATIENCE}})
    _publish(publisher, RECEIVED)
    if not load.report()["complete"]:
        raise RuntimeError("a client has not received its first events")
    return side, load, publisher


def _miss(stack: ExitStack, side: Side, publisher: Child) -> None:
    """Publish events for the clients that are away, until the gateway has kept them all."""
    witness = stack.enter_context(program("websocket_load", port=side.port, dialect=side.dialect))
    topic = Audience.personal(CLIENTS + 1).topics[-1]
    witness.ask({"open": {"paths": side.paths[-1:], "topics": [topic]}})
    witness.ask({"count": {"mark": MARK, "each": MISSED, "within": PATIENCE}})
    _publish(publisher, MISSED)
    if not witness.report()["complete"]:
        raise RuntimeError("the gateway has not received all events")


def _refuse(side: Side, values: dict[str, float]) -> None:
    """Measure the part of a return that it shares with a login: accept, read, answer, close."""
    with program("websocket_load", port=side.port, dialect="plain") as load:
        _settle(side)
        before = processor_time(side.pids)
        refused = load.ask({"refuse": {"path": _UNKNOWN, "count": CLIENTS}})
        values[_FLOOR] = CLIENTS / refused["seconds"]
        values[_FLOOR_COST] = 1e6 * (processor_time(side.pids) - before) / CLIENTS


def _settle(side: Side) -> None:
    """Wait until the gateway takes no more processor time for what came before."""
    before = processor_time(side.pids)
    while True:
        sleep(SETTLED)
        now = processor_time(side.pids)
        if now - before < SETTLED / 20:
            return
        before = now


def _publish(publisher: Child, each: int) -> None:
    """Publish events on each topic, the one of the witness last."""
    publisher.ask({"count": each * (CLIENTS + 1), "pace": 0.0})


def _measure_returns(side: Side, load: Child) -> tuple[float, float]:
    """Have all clients return; returns per second, and processor time of each in µs."""
    before = processor_time(side.pids)
    returned = _return(load)
    cost = 1e6 * (processor_time(side.pids) - before) / CLIENTS
    return CLIENTS / returned["seconds"], cost


def _return(load: Child, port: int | None = None) -> Any:
    """Have all clients return, to another gateway if a port is given."""
    missed = {"path": _PATH, "received": RECEIVED, "mark": MARK, "missed": MISSED, "port": port}
    return load.ask({"return": missed})


def _wait_for_members(setting: Setting, key: str, count: int) -> None:
    """Wait until a sorted set of Redis has so many members."""
    ends = monotonic() + PATIENCE
    with redis.Redis(port=setting.port, protocol=2) as client:
        while client.zcard(key) < count:
            if monotonic() > ends:
                raise RuntimeError(f"{key} has fewer than {count} members")
            sleep(POLL)
