"""Holds websockets of one gateway and counts what is delivered to them: bare sockets, one epoll.

It does what lines of JSON on standard input ask for, one after another, and reports each:

    {"open": {…}}     open websockets; when all are subscribed, how long that took
    {"count": {…}}    count from now on ("counting"), until each has its events, or time is up
    {"time": {…}}     the same, but look at once whenever something comes, and tell when it was
    {"drop": {}}      close all connections without a websocket close, as a broken network does
    {"return": {…}}   return with the tokens of recovery; when all events are replayed, how long
                      that took
    {"refuse": {…}}   connect with requests that the gateway refuses; how long that took

In between it answers pings.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time, sleep
from typing import Any

from benchmarks.programs.dialects import DIALECTS, Dialect, handshake
from benchmarks.programs.marks import MarkCounter
from benchmarks.programs.options import parse_options

TIMEOUT = 60.0
"""Seconds to wait for the gateway to let the next websocket in."""

HANDSHAKES = 32
"""Websockets that are being opened at a time: fewer than a listening socket queues."""

SHARED_BY = 1_000
"""Connections that share a source address."""

SWEEP = 0.004
"""Seconds between polls of all sockets; bytes in between are read in one piece."""

UNCOUNTED = b"\x00" * 8
"""A mark that no event contains, before counting starts."""

TOKEN_LENGTH = 43
"""Characters of a token of recovery."""


class Opening:
    """A websocket that is not subscribed yet."""

    told = b""

    def __init__(self, connection: socket.socket, dialect: Dialect, topics: str, path: str) -> None:
        self.connection = connection
        self._dialect = dialect
        self._steps = deque(dialect.steps_to(topics))
        self._received = b""
        self._accepted = False
        connection.sendall(handshake(path, dialect))

    def is_subscribed(self) -> bool:
        """Read, send the next message, and return True after the last one."""
        received = self.connection.recv(65_536)
        assert received, f"the gateway closed a websocket after {self._received!r}"
        self._received += received
        if not self._accepted:
            head, end, self._received = self._received.partition(b"\r\n\r\n")
            if not end:
                self._received = head
                return False
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._accepted = True
        while self._steps:
            told, found, rest = self._split(self._steps[0].after)
            if not found:
                return False
            self.told, self._received = told, rest
            say = self._steps.popleft().say
            if say:
                self.connection.sendall(self._dialect.frame(say))
        return True

    def _split(self, after: bytes) -> tuple[bytes, bool, bytes]:
        if not after:
            return b"", True, self._received
        before, found, rest = self._received.partition(after)
        return before, bool(found), rest


class Returning(Opening):
    """A websocket whose client returns, until it has the events that it missed.

    Args:
        connection: socket to the gateway.
        dialect: the dialect of recovery.
        path: request target, with the token.
        mark: text that each event holds once.
        missed: number of events that the client missed.
    """

    def __init__(
        self, connection: socket.socket, dialect: Dialect, path: str, mark: bytes, missed: int
    ) -> None:
        super().__init__(connection, dialect, "", path)
        self._mark = mark
        self._missed = missed

    def is_subscribed(self) -> bool:
        """Read; return true once all events have arrived."""
        if not super().is_subscribed():
            return False
        assert b'"recovered": false' not in self._received, "a client was not recovered"
        return self._received.count(self._mark) >= self._missed


class Refused(Opening):
    """A request that the gateway refuses, until it has closed the connection."""

    def is_subscribed(self) -> bool:
        """Read; return true at the end of the connection."""
        received = self.connection.recv(65_536)
        self._received += received
        if not received:
            assert self._received.startswith(b"HTTP/1.1 4"), self._received
        return not received


class Load:
    """The websockets of one gateway."""

    def __init__(self, port: int, dialect: str) -> None:
        self._address = ("127.0.0.1", port)
        self._connected = 0
        self._dialect = DIALECTS[dialect]
        self._epoll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._tokens: list[str] = []
        self._counter = MarkCounter(UNCOUNTED)
        self.closed = 0

    def open(self, paths: list[str], topics: list[str]) -> dict[str, float]:
        """Open one websocket for each path; returns when all are subscribed.

        Args:
            paths: request targets.
            topics: topics of each websocket; a comma separates two.
        """
        return self._open(
            [
                partial(Opening, dialect=self._dialect, topics=followed, path=path)
                for path, followed in zip(paths, topics, strict=True)
            ]
        )

    def drop(self) -> dict[str, int]:
        """Close all connections; returns their number."""
        for number, connection in self._connections.items():
            self._epoll.unregister(number)
            connection.close()
        dropped = len(self._connections)
        self._connections.clear()
        return {"dropped": dropped}

    def come_back(
        self, path: str, received: int, mark: str, missed: int, port: int | None = None
    ) -> dict[str, float]:
        """Return once with each token; returns when each client has the events that it missed.

        Args:
            path: request target, without the query.
            received: number of events that each client has received.
            mark: text that each event holds once.
            missed: number of events that each client has missed.
            port: port of another gateway on this machine; None: the same gateway.
        """
        if port is not None:
            self._address = (self._address[0], port)
        tokens, self._tokens = self._tokens, []
        return self._open(
            [
                partial(
                    Returning,
                    dialect=self._dialect,
                    path=f"{path}?recover={token}&received={received}",
                    mark=mark.encode(),
                    missed=missed,
                )
                for token in tokens
            ]
        )

    def refuse(self, path: str, count: int) -> dict[str, float]:
        """Have the gateway refuse so many requests; returns when it has closed all connections."""
        opening = partial(Refused, dialect=self._dialect, topics="", path=path)
        return self._open([opening] * count)

    def _connect(self) -> socket.socket:
        """Connect from an address with few connections.

        The more connections it has, the longer Linux searches for a free port.
        """
        source = f"127.{os.getpid() % 250 + 1}.{self._connected // SHARED_BY}.1"
        self._connected += 1
        connection = socket.create_connection(self._address, TIMEOUT, (source, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _open(self, openings: list[Callable[[socket.socket], Opening]]) -> dict[str, float]:
        start = perf_counter()
        waiting = deque(openings)
        opening: dict[int, Opening] = {}
        while waiting or opening:
            while waiting and len(opening) < HANDSHAKES:
                connection = self._connect()
                opening[connection.fileno()] = waiting.popleft()(connection)
                self._epoll.register(connection, select.EPOLLIN)
            ready = self._epoll.poll(TIMEOUT)
            assert ready, f"{len(self._connections)} of {len(openings)} websockets are open"
            for number, _ in ready:
                if number not in opening:
                    self._read(number)
                elif opening[number].is_subscribed():
                    opened = opening.pop(number)
                    opened.connection.setblocking(False)
                    self._connections[number] = opened.connection
                    self._counter.add(number)
                    if self._dialect is DIALECTS["recovery"]:
                        self._tokens.append(opened.told[-TOKEN_LENGTH:].decode())
        return {"started": start, "seconds": perf_counter() - start}

    def count(self, mark: str, each: int, within: float) -> dict[str, Any]:
        """Count marks until every websocket has so many, or time is up."""
        self._counter = counter = MarkCounter(mark.encode())
        for number in self._connections:
            counter.add(number)
        wanted = each * len(self._connections)
        start = last = perf_counter()
        first_cpu = last_cpu = process_time()
        print(json.dumps({"counting": wanted}), flush=True)
        while counter.total < wanted:
            sweep = perf_counter()
            if sweep - start > within:
                break
            before = counter.total
            for number, _ in self._epoll.poll(SWEEP, max(1, len(self._connections))):
                self._read(number)
            now = perf_counter()
            if counter.total > before:
                last, last_cpu = now, process_time()
            sleep(max(0.0, sweep + SWEEP - now))
        counts = counter.counts.values()
        return {
            "delivered": counter.total,
            "wanted": wanted,
            "complete": all(count == each for count in counts),
            "bytes": counter.size,
            "started": start,
            "last": last,
            "cpu_share": (last_cpu - first_cpu) / max(last - start, 1e-9),
            "closed": self.closed,
        }

    def time(self, mark: str, each: int, within: float) -> dict[str, Any]:
        """Tell when each websocket received each of its events; like `count`, but never asleep."""
        self._counter = counter = MarkCounter(mark.encode())
        for number in self._connections:
            counter.add(number)
        wanted = each * len(self._connections)
        arrivals: dict[int, list[float]] = {number: [] for number in self._connections}
        ends = perf_counter() + within
        print(json.dumps({"counting": wanted}), flush=True)
        while counter.total < wanted and perf_counter() < ends:
            for number, _ in self._epoll.poll(1.0):
                before = counter.total
                self._read(number)
                arrivals[number] += [perf_counter()] * (counter.total - before)
        return {"arrivals": list(arrivals.values()), "closed": self.closed}

    def wait_for_command(self) -> Any:
        """Answer pings until there is a line on standard input; None at its end."""
        self._epoll.register(sys.stdin, select.EPOLLIN)
        try:
            while True:
                for number, _ in self._epoll.poll():
                    if number == sys.stdin.fileno():
                        line = sys.stdin.readline()
                        return json.loads(line) if line else None
                    self._read(number)
        finally:
            self._epoll.unregister(sys.stdin)

    def _read(self, number: int) -> None:
        connection = self._connections[number]
        try:
            size = self._counter.read(number, connection.recv_into)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._epoll.unregister(number)
            del self._connections[number]
            connection.close()
            self.closed += 1
            return
        ping = self._counter.find(self._dialect.ping, size)
        if ping is not None:
            connection.send(self._dialect.answer(ping))


if __name__ == "__main__":
    options = parse_options(port=int, dialect=str)
    load = Load(options.port, options.dialect)
    commands: dict[str, Callable[..., object]] = {
        "open": load.open,
        "count": load.count,
        "time": load.time,
        "drop": load.drop,
        "return": load.come_back,
        "refuse": load.refuse,
    }
    while True:
        command = load.wait_for_command()
        if command is None:
            break
        for name, arguments in command.items():
            print(json.dumps(commands[name](**arguments)), flush=True)
