"""Programs under clients and events: a rolling restart, and workers of which one is killed.

``CLIENTS`` in the environment is the number of clients.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from tests.helpers.support import GUARD, Server
from tests.helpers.websockets import HandshakeFailed
from tests.program.test_program import ENDED
from tests.program.test_workers import WorkersTestCase

from .publisher import Publisher, receivers
from .world import Crowd

CLIENTS = int(os.environ.get("CLIENTS", "20"))
PACE = 0.005
"""Seconds between events: 200 a second."""

PATIENT = ("--handshake-timeout", "0", "--shutdown-timeout", "100")
"""Options of a gateway on a machine that is busy with other tests."""


class PacedCrowd(Crowd):
    """People, to whom a process of its own publishes on time."""

    def __init__(self, server: Server, people: int) -> None:
        super().__init__(server, people, PACE)
        uuids = [person.uuid for person in self.people]
        self.publisher = Publisher(server.url, PACE, uuids)

    async def start(self) -> None:
        """Begin to publish."""
        await self.connect()
        await self.publisher.wait(1)

    async def wait(self, events: int) -> None:
        """Wait until that many more events are published."""
        await self.publisher.wait(events)

    async def quiet(self) -> None:
        """Publish no more by itself."""
        if self._is_running:
            self._is_running = False
            self.count = await self.publisher.stop()
            for number in range(1, self.count + 1):
                self.note(number, receivers(number, len(self.people)))


class Returning:
    """Has every client come back whenever its websocket ends, at one port after the other."""

    def __init__(self, crowd: Crowd, ports: Sequence[int]) -> None:
        self.outcomes: Counter[bool] = Counter()
        self.unrecovered: set[int] = set()
        self._crowd = crowd
        self._ports = ports
        self._is_over = False
        self._loops: list[Deferred[None]] = []

    async def start(self) -> None:
        """Log every client in."""
        for number, person in enumerate(self._crowd.people):
            await self._crowd.log_in(person, self._ports[number % len(self._ports)])
            self._loops.append(Deferred.fromCoroutine(self._keep(number)))

    async def _keep(self, number: int) -> None:
        client = self._crowd.people[number].client
        while True:
            await client.websocket.closed
            if self._is_over:
                return
            await self.come_back(number)

    async def come_back(self, number: int) -> None:
        """Have a client return to whichever gateway lets it in."""
        client = self._crowd.people[number].client
        attempt = number
        while True:
            attempt += 1
            try:
                recovered = await client.come_back(self._ports[attempt % len(self._ports)])
            except ConnectError:  # it is not there
                await deferLater(reactor, 0.01)
            except HandshakeFailed as error:
                if "403" in str(error) or "400" in str(error):
                    raise
                await deferLater(reactor, 0.01)
            else:
                self.outcomes[recovered] += 1
                if not recovered:
                    self.unrecovered.add(number)
                return

    async def finish(self) -> None:
        """Stop publishing; every client has all there is."""
        await self._crowd.quiet()
        for number in range(len(self._crowd.people)):
            while not await self._crowd.has_all(number):
                await deferLater(reactor, 0.01)
        self._is_over = True
        await self._crowd.stop()
        await gatherResults(self._loops)


class RestartTests(WorkersTestCase):
    timeout = GUARD * max(1, CLIENTS // 100)

    async def crowd(self) -> PacedCrowd:
        crowd = PacedCrowd(self.server, CLIENTS)
        self.addCleanup(crowd.publisher.process.kill)
        await crowd.start()
        return crowd

    async def test_a_rolling_restart_loses_nothing_and_needs_no_key(self) -> None:
        options = ("--redis", self.gateway_url, *PATIENT)
        programs = [self.start(*options) for _ in range(3)]
        for program, _ in programs:
            await program.says("is ready")
        ports = [port for _, port in programs]
        crowd = await self.crowd()
        returning = Returning(crowd, ports)
        await returning.start()
        for number in range(3):
            await crowd.wait(20)
            program, _ = programs[number]
            program.send(signal.SIGTERM)
            assert await program.ended() in ENDED
            program, port = self.start(*options)
            await program.says("is ready")
            ports[number] = port
        await crowd.wait(20)
        await returning.finish()
        assert returning.outcomes[True] >= CLIENTS
        assert returning.outcomes[False] == 0
        assert [person.client.logins for person in crowd.people] == [1] * CLIENTS

    async def test_clients_of_a_killed_worker_are_notified(self) -> None:
        _, port = await self.start_workers("--redis", self.gateway_url, *PATIENT)
        crowd = await self.crowd()
        returning = Returning(crowd, [port])
        await returning.start()
        killed, _ = await self.pids()
        # Half of them have moved from worker to worker before.
        for number in range(0, CLIENTS, 2):
            await crowd.people[number].client.drop()
        while returning.outcomes.total() < CLIENTS // 2:
            await deferLater(reactor, 0.01)
        assert returning.outcomes[False] == 0
        open_before = {
            number: person.client.websocket for number, person in enumerate(crowd.people)
        }
        os.kill(killed, signal.SIGKILL)
        await crowd.wait(100)
        await returning.finish()
        broken = {
            number
            for number, websocket in open_before.items()
            if websocket is not crowd.people[number].client.websocket
        }
        assert len(broken) > 0
        assert returning.unrecovered == broken
