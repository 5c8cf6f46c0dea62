"""Logins, events, calls and variables at random, while things break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from opentera_twisted import Bus, SessionKeys
from opentera_twisted.errors import BusError
from tests.faults.proxy import Proxy
from tests.helpers.support import GUARD, Server
from tests.helpers.websockets import HandshakeFailed, connect, leave
from tests.program.test_storms import metrics

from .disorder import Disorder
from .people import Person
from .service import SERVICE

PEOPLE: Final = 30
PACE: Final = 0.02
"""Seconds between actions: fifty a second."""

AT_ONCE: Final = 100
"""Actions that may be under way."""

BETWEEN: Final = (10.0, 50.0)
"""Seconds between the end of a break and the next one."""


class Load:
    """The clients of one gateway and one service.

    Args:
        server: the Redis.
        port: port of the gateway's websockets.
        admin: port of its metrics.
        random: source of choices.

    Attributes:
        done: number of actions by name.
        failed: number of failed actions by name and error; only breaks may cause them.
        faults: lines of what went wrong.
        disorder: the breaks.
    """

    def __init__(self, server: Server, port: int, admin: int, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.faults: list[str] = []
        self._random = random
        self._proxy = Proxy(port)
        self._admin = admin
        self.disorder = Disorder(server, self._proxy, random)
        self._bus = Bus(server.url, reactor=reactor, name="endurance-clients")
        self._keys = SessionKeys(self._bus)
        url = f"ws://127.0.0.1:{self._proxy.port}/wss/user"
        self._people = [Person(self._bus, url, self.faults) for _ in range(PEOPLE)]
        self._under_way: set[Deferred[None]] = set()
        self._is_over = False
        self._actions: list[Callable[[], Awaitable[None]]] = [
            *[self.event] * 6,
            *[self.call] * 3,
            self.variable,
            self.visit,
            self.scrape,
        ]

    @property
    def gaps(self) -> int:
        """Return the number of announced gaps."""
        return sum(person.numbers.gaps for person in self._people)

    @property
    def missed(self) -> int:
        """Return the number of events that were lost in announced gaps."""
        return sum(person.numbers.missed for person in self._people)

    @property
    def logins(self) -> int:
        """Return the number of session keys that the clients needed."""
        return sum(person.logins for person in self._people)

    async def start(self) -> None:
        """Connect everybody."""
        self._bus.startService()
        await self._bus.connected(GUARD)
        for person in self._people:
            person.client.startService()
        for person in self._people:
            await person.client.connected(GUARD)

    async def run(self, seconds: float) -> None:
        """Act and break things for that long."""
        breaking = Deferred.fromCoroutine(self._break(monotonic() + seconds))
        until = monotonic() + seconds
        while monotonic() < until:
            await deferLater(reactor, PACE)
            if len(self._under_way) < AT_ONCE:
                self._begin(self._random.choice(self._actions))
        self._is_over = True
        await breaking
        await DeferredList(self._under_way)

    async def finish(self) -> None:
        """Have each client receive a last event, then stop everything."""
        await self._bus.connected(GUARD)
        for person in self._people:
            await person.client.connected(GUARD)
            if not await self._has_all(person):
                self.faults.append(f"user {person.uuid}: no more events arrive")
            await person.client.stopService()
        await self._bus.stopService()
        await self._proxy.stop()

    async def _has_all(self, person: Person) -> bool:
        """Return True once the person has received the last event; publish more until then."""
        until = monotonic() + GUARD
        while monotonic() < until:
            with suppress(BusError):  # and the last one may be lost in a gap
                await person.publish()
            for _ in range(50):
                await deferLater(reactor, 0.1)
                if person.numbers.received == person.numbers.published:
                    return True
        return False

    async def _break(self, until: float) -> None:
        while True:
            pause = self._random.uniform(*BETWEEN)
            if monotonic() + pause > until:
                return
            await deferLater(reactor, pause)
            await self.disorder.strike()

    def _begin(self, action: Callable[[], Awaitable[None]]) -> None:
        name = action.__name__
        began = monotonic()

        def ended(result: Any) -> None:
            self._under_way.discard(doing)
            if not isinstance(result, Failure):
                self.done[name] += 1
                return
            cause = f"{name}: {type(result.value).__name__}"
            self.failed[cause] += 1
            if not result.check(BusError, HandshakeFailed) or self.disorder.was_calm(began):
                self.faults.append(f"{cause}: {result.getErrorMessage()}")

        async def do() -> None:
            await action()

        doing = Deferred.fromCoroutine(do())
        self._under_way.add(doing)
        doing.addBoth(ended)

    async def event(self) -> None:
        """Publish an event to one of the people."""
        await self._random.choice(self._people).publish()

    async def call(self) -> None:
        """Call a procedure and compare its result."""
        number, text = self._random.randrange(2**31), "é" * self._random.randrange(200)
        result = await self._bus.call_service(SERVICE, "echo", number, text)
        if result != [number, text]:
            self.faults.append(f"echo({number}, {text!r}) returned {result!r}")

    async def variable(self) -> None:
        """Write, read and delete a variable."""
        name = f"endurance-{uuid4()}"
        await self._bus.variables.set(name, name, ttl=60)
        found = await self._bus.variables.get(name)
        if found != name.encode() and self.disorder.was_calm(monotonic()):
            self.faults.append(f"the variable {name} held {found!r}")
        await self._bus.variables.delete(name)

    async def scrape(self) -> None:
        """Read the metrics, as a monitoring server does."""
        samples = await deferToThread(metrics, self._admin)
        clients = samples['opentera_bus_clients{kind="user"}']
        if not 0 <= clients <= PEOPLE + 2 * AT_ONCE:
            self.faults.append(f"the gateway counts {clients} clients")

    async def visit(self) -> None:
        """Log in once more, stay for a moment, and leave."""
        key = await self._keys.issue("user", str(uuid4()))
        visitor = await connect(self._proxy.port, f"/wss/user?id={key}")
        try:
            await deferLater(reactor, self._random.uniform(0, 2))
        finally:
            with suppress(ConnectionError):
                await leave(visitor)
