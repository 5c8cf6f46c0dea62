"""One call in flight: ours against bare sockets that exchange as many bytes, and nats.py.

Callers run on one core and servers on another; Redis and nats-server where the scheduler likes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from uuid import uuid4

from benchmarks.children import measured, on_core, program
from benchmarks.figures import Figure, Rival, Series, Target
from benchmarks.rivals.environments import NotMeasuredError
from benchmarks.rivals.nats_requests import nats_requests
from benchmarks.scenario import SERVICE, TOPIC, Setting, rotated
from opentera_twisted.rpc.wire import decode_request, encode_reply, encode_request

NAME: Final = "call-latency"
TARGET: Final = Target("below", 2.0)
NATS_TARGET: Final = Target("below", 0.6)
CALLS: Final = 5_000

_SERVERS, _CALLERS = range(2)
"""Their cores."""

_OURS: Final = "ours: Bus in a caller process, Redis, Bus in a server process"
_FLOOR: Final = "floor: bare blocking sockets in both processes, same bytes over Redis"


def run(setting: Setting) -> list[Figure]:
    """Measure the percentiles of one call's time."""
    ours = {"p50": Series(_OURS), "p99": Series(_OURS)}
    floor = {"p50": Series(_FLOOR), "p99": Series(_FLOOR)}
    nats, missing = Series("nats.py"), ""
    calls = setting.amount(CALLS)
    amount = {"calls": calls, "warm_up": calls // 10}
    our_options = {"url": setting.url, "service": SERVICE}
    floor_options = {"port": setting.port, **_same_sizes()}
    with ExitStack() as stack:
        with on_core(_SERVERS):
            stack.enter_context(program("our_server", **our_options)).report()
            stack.enter_context(program("floor_server", **floor_options)).report()
        try:
            requests = stack.enter_context(nats_requests(partial(on_core, _SERVERS)))
            nats.who = requests.who
        except NotMeasuredError as error:
            missing = str(error)
        sides: list[tuple[dict[str, Series], Callable[[], Any]]] = [
            (ours, partial(measured, "our_caller", **our_options, **amount, in_flight=1)),
            (floor, partial(measured, "floor_caller", **floor_options, **amount)),
        ]
        if not missing:
            sides.append(({"p50": nats}, partial(requests.measure, **amount, in_flight=1)))
        for number in setting.each_round(NAME):
            for percentiles, measure in rotated(sides, number):
                with on_core(_CALLERS):
                    report = measure()
                for percentile, series in percentiles.items():
                    series.samples.append(report[percentile])
    return [
        Figure(
            NAME,
            "p50",
            "µs",
            ours["p50"],
            [Rival(floor["p50"], TARGET), Rival(nats, NATS_TARGET, missing)],
        ),
        Figure(NAME, "p99", "µs", ours["p99"], [Rival(floor["p99"])]),
    ]


def _same_sizes() -> dict[str, Any]:
    """Channels and payloads of the floor: as long as those of a call of ours."""
    reply_to = f"RedisRPCClient.{uuid4()}"
    payload = encode_request("add", reply_to, CALLS, (CALLS, 1))
    request = decode_request(payload)
    assert request is not None
    return {
        "topic": TOPIC.replace(SERVICE, "floor"),
        "reply_to": reply_to,
        "request_size": len(payload),
        "reply_size": len(encode_reply(request, TOPIC, CALLS + 1)),
    }
