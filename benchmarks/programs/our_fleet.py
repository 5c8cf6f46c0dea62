"""Does the bookkeeping of many gateways in one process, without their websockets.

Each gateway has a bus and a lease. A line of JSON on standard input says what to do; each is
reported when it is done:

    {"enter": 100}      so many identities become online at each gateway
    {"logins": 200}     so many logins and logouts, over all gateways in turn
    {"renewals": 2}     so many renewals of each lease, with the search for dead gateways
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from benchmarks.programs.options import parse_options
from opentera_twisted import Bus, SessionKeys, topics
from opentera_twisted.gateway.presence import presence_event
from opentera_twisted.holders import REPORTS
from opentera_twisted.messages.envelopes import module_message
from opentera_twisted.messages.templates import template
from opentera_twisted.presence_lease import Lease, Transition
from opentera_twisted.sessions import Identity

BATCH = 50
"""Identities that one renewal enters."""

AT_ONCE = 1
"""Gateways that do something at a time: no command shares a read of Redis with another."""


@frozen
class Simulated:
    """A gateway's work at Redis."""

    bus: Bus
    lease: Lease

    async def enter(self, count: int) -> None:
        """Have so many identities online."""
        identities = (_user() for _ in range(count))
        while batch := [_enter(identity) for identity in islice(identities, BATCH)]:
            await self.lease.renew(batch, join=True)

    async def log_in_and_out(self) -> None:
        """Log a user in with a session key, and out again."""
        keys, identity = SessionKeys(self.bus), _user()
        key = await keys.issue("user", identity.uuid)
        assert await keys.redeem("user", key)
        followed = (
            topics.websocket_events("user", identity.uuid),
            topics.disconnect_command(identity.uuid),
        )
        subscriptions = await gatherResults(
            [self.bus.subscribe(topic, lambda _: None) for topic in followed]
        )
        await self.lease.renew([_enter(identity)], join=False)
        await gatherResults([subscription.cancel() for subscription in subscriptions])
        await self.lease.renew([Transition("leave", _who(identity))], join=False)

    async def renew(self) -> None:
        """Renew the lease, and look for dead gateways."""
        await self.lease.renew([], join=False)
        await self.lease.reap()


def _user() -> Identity:
    return Identity("user", str(uuid4()), "Ada Lovelace")


def _who(identity: Identity) -> str:
    return f"{identity.kind}.{identity.uuid}"


def _enter(identity: Identity) -> Transition:
    came, gone = (
        template(
            module_message(
                f"websocket.{_who(identity)}",
                REPORTS,
                [presence_event(identity, connected=connected)],
            )
        )
        for connected in (True, False)
    )
    return Transition("enter", _who(identity), came, gone)


async def _each(gateways: list[Simulated], what: str, count: int) -> None:
    def todo() -> Iterator[Deferred[None]]:
        for number in range(count if what == "logins" else len(gateways)):
            gateway = gateways[number % len(gateways)]
            step = gateway.enter(count) if what == "enter" else gateway.log_in_and_out()
            yield Deferred.fromCoroutine(step)

    if what == "renewals":
        for _ in range(count):
            for gateway in gateways:
                await gateway.renew()
        return
    doing = todo()
    while batch := list(islice(doing, AT_ONCE)):
        await gatherResults(batch)


async def simulate(options: Namespace, reactor: object) -> None:
    """Do the work of each line of the input."""
    gateways = []
    for _ in range(options.gateways):
        bus = Bus(options.url, reactor=reactor, name="bench-fleet")
        bus.startService()
        await bus.connected()
        gateways.append(Simulated(bus, Lease(bus.link, 1000.0)))
    print(json.dumps({"ready": True}), flush=True)
    while line := await deferToThread(sys.stdin.readline):
        ((what, count),) = json.loads(line).items()
        await _each(gateways, what, count)
        print(json.dumps({"done": what}), flush=True)
    await Deferred()  # its parent ends it


if __name__ == "__main__":
    arguments = parse_options(url=str, gateways=int)
    react(lambda reactor: Deferred.fromCoroutine(simulate(arguments, reactor)))
