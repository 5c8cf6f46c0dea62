"""TCP proxies of a cluster in a thread of their own; a partition silences some connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, cast

from tests.helpers.support import GUARD

IsSilent = Callable[[str, int], bool]
"""Decides from the source address and the target port whether a connection is silent."""


class Network:
    """Forwards ports to others; blocking tools of the cluster run beside it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._pipes: set[_Pipe] = set()
        self._is_silent: IsSilent = lambda _source, _target: False
        self._thread = Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def forward(self, port: int, target: int) -> None:
        """Forward a port of 127.0.0.1 to another."""
        self._run(self._forward(port, target))

    def partition(self, is_silent: IsSilent) -> None:
        """Neither forward nor close the connections that the function names, until `heal`."""
        self._run(self._apply(is_silent))

    def heal(self) -> None:
        """Forward everything, also what has waited."""
        self._run(self._apply(lambda _source, _target: False))

    def stop(self) -> None:
        """Close everything."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GUARD)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(GUARD)

    async def _forward(self, port: int, target: int) -> None:
        make = self._loop.create_server(
            lambda: _Pipe(self, target), "127.0.0.1", port, reuse_address=True
        )
        self._servers.append(await make)

    async def _apply(self, is_silent: IsSilent) -> None:
        self._is_silent = is_silent
        for pipe in list(self._pipes):
            pipe.apply()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for pipe in list(self._pipes):
            pipe.abort()
        await asyncio.sleep(0)  # the transports close in the next turn


class _Pipe(asyncio.Protocol):
    """A connection of a client, and its connection to the target."""

    def __init__(self, network: Network, target: int) -> None:
        self._network = network
        self._target = target
        self._source = ""
        self._ends: list[asyncio.Transport] = []
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = cast("asyncio.Transport", transport)
        self._source = client.get_extra_info("peername")[0]
        self._ends.append(client)
        self._network._pipes.add(self)
        client.pause_reading()
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            server, _ = await self._network._loop.create_connection(
                lambda: _Back(self), "127.0.0.1", self._target
            )
        except OSError:
            self.abort()
            return
        self._ends.append(server)
        if self not in self._network._pipes:
            server.abort()
            return
        self.apply()

    def apply(self) -> None:
        """Read from both ends, unless the connection is silent."""
        if len(self._ends) < 2:
            return
        is_silent = self._network._is_silent(self._source, self._target)
        for end in self._ends:
            if is_silent:
                end.pause_reading()
            else:
                end.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._ends[1].write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self.finish()

    def pass_back(self, data: bytes) -> None:
        """Forward data from the target."""
        self._ends[0].write(data)

    def finish(self) -> None:
        """Close both ends after sending what was received."""
        self._network._pipes.discard(self)
        for end in self._ends:
            end.close()

    def abort(self) -> None:
        """Close both ends at once."""
        self._network._pipes.discard(self)
        for end in self._ends:
            end.abort()


class _Back(asyncio.Protocol):
    """The connection to the target."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    def data_received(self, data: bytes) -> None:
        self._pipe.pass_back(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._pipe.finish()
