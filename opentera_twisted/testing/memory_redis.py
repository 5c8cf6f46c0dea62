"""A Redis in memory: the commands that a bus sends, answered at once and in order."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import hiredis
from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted.pubsub import Delivery
from opentera_twisted.testing.memory_variables import MemoryVariables
from opentera_twisted.testing.scripts import SCRIPTS
from opentera_twisted.topics import compile_pattern, decode

_INVALIDATIONS: Final = b"__redis__:invalidate"


@define(eq=False)
class Connection:
    """A connection in memory: the transport that a protocol writes to.

    Attributes:
        number: id of the connection.
        channels: subscribed channels.
        patterns: subscribed patterns.
        redirect: id of the connection that receives invalidations; 0: none.
        tracked: names of variables whose changes are reported.
    """

    redis: MemoryRedis
    protocol: Any
    number: int
    channels: dict[bytes, None] = Factory(dict)
    patterns: dict[bytes, re.Pattern[bytes]] = Factory(dict)
    redirect: int = 0
    tracked: set[bytes] = Factory(set)
    tracks_next: bool = False
    reader: hiredis.Reader = Factory(hiredis.Reader)
    is_open: bool = True
    disconnecting: bool = False

    def write(self, data: bytes) -> None:
        """Send commands."""
        self.reader.feed(data)
        while self.is_open and (command := self.reader.gets()) is not False:
            self.redis.received(self, command)

    def loseConnection(self) -> None:
        """Close the connection."""
        self.redis.lost(self)

    abortConnection = loseConnection

    def deliver(self, reply: bytes) -> None:
        """Receive data from the server."""
        if self.is_open:
            self.protocol.dataReceived(reply)


@implementer(IStreamClientEndpoint)
class MemoryRedis(MemoryVariables):
    """A Redis in memory, which several buses of one process can share.

    Args:
        clock: clock for the lifetimes of variables.

    Attributes:
        published: all published messages, oldest first.
        online: ``<kind>.<uuid>`` of identities with an open websocket; a test fills it, as gateways
            do.

    Example:
        >>> writer = MemoryBus()
        >>> reader = MemoryBus(writer.server)
        >>> result_of(writer.variables.set("greeting", "hello"))
        True
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock)
        self.published: list[Delivery] = []
        self.online: set[str] = set()
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._is_away = False
        self._attempts: dict[Deferred[Any], Any] = {}
        self._due: deque[Callable[[], None]] = deque()
        self._is_busy = False

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Connect a protocol at the clock's next advance, or when the server is reachable again."""
        attempt: Deferred[Any] = Deferred(lambda cancelled: self._attempts.pop(cancelled, None))
        self._attempts[attempt] = protocolFactory
        self._clock.callLater(0, self._connect_all)
        return attempt

    def _connect_all(self) -> None:
        if self._is_away:
            return
        attempts, self._attempts = self._attempts, {}
        for attempt, factory in attempts.items():
            # Answer nothing before the protocol is connected.
            self._later(partial(self._connect, attempt, factory))

    def _connect(self, attempt: Deferred[Any], factory: Any) -> None:
        if attempt.called:
            return
        self._count += 1
        protocol = factory.buildProtocol(None)
        connection = Connection(self, protocol, self._count)
        self._connections[connection.number] = connection
        protocol.makeConnection(connection)
        attempt.callback(protocol)

    def lost(self, connection: Connection) -> None:
        """Close a connection."""
        if self._connections.pop(connection.number, None) is not None:
            connection.is_open = False
            reason = Failure(ConnectionDone())
            self._later(lambda: connection.protocol.connectionLost(reason))

    def go_away(self) -> None:
        """Close all connections and refuse new ones; keep the variables."""
        self._is_away = True
        for connection in list(self._connections.values()):
            self.lost(connection)

    def come_back(self) -> None:
        """Accept connections again."""
        self._is_away = False
        self._connect_all()

    def received(self, connection: Connection, command: Sequence[bytes]) -> None:
        """Answer a command after the earlier ones."""
        self._later(lambda: connection.deliver(self._reply(connection, command)))

    def _later(self, function: Callable[[], None]) -> None:
        """Run functions in order: a function added by another runs after those already queued."""
        self._due.append(function)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._due:
                self._due.popleft()()
        finally:
            self._is_busy = False

    def _reply(self, connection: Connection, command: Sequence[bytes]) -> bytes:
        name, *arguments = command
        method = getattr(self, f"_do_{name.decode().lower()}", None)
        if method is None:
            return encode(Exception(f"ERR MemoryRedis has no command {name.decode()}"))
        try:
            reply: bytes | None = method(connection, *arguments)
        except Exception as error:  # noqa: BLE001 (sent as an error reply)
            return encode(error)
        return encode(None) if reply is None else reply

    # Connections

    def _do_ping(self, _: Connection) -> bytes:
        return encode("PONG")

    def _do_select(self, _: Connection, __: bytes) -> bytes:
        return encode("OK")

    def _do_info(self, _: Connection, *__: bytes) -> bytes:
        return encode(b"")

    def _do_client(self, connection: Connection, what: bytes, *arguments: bytes) -> bytes:
        if what == b"ID":
            return encode(connection.number)
        if what == b"TRACKING":
            connection.redirect = int(arguments[arguments.index(b"REDIRECT") + 1])
        elif what == b"CACHING":
            connection.tracks_next = True
        return encode("OK")

    # Variables

    def _do_get(self, connection: Connection, name: bytes) -> bytes:
        if connection.tracks_next:
            connection.tracks_next = False
            connection.tracked.add(name)
        return encode(self.read(name))

    def _do_set(self, _: Connection, name: bytes, value: bytes, *options: bytes) -> bytes:
        if b"NX" in options and self.exists(name):
            return encode(None)
        milliseconds = int(options[options.index(b"PX") + 1]) if b"PX" in options else None
        self.write(name, value, milliseconds)
        return encode("OK")

    def _do_del(self, _: Connection, *names: bytes) -> bytes:
        return encode(sum(self.delete(name) for name in names))

    def _do_exists(self, _: Connection, *names: bytes) -> bytes:
        return encode(sum(self.exists(name) for name in names))

    def _do_mget(self, _: Connection, *names: bytes) -> bytes:
        return encode([self.read(name) for name in names])

    def _do_incrby(self, _: Connection, name: bytes, amount: bytes) -> bytes:
        try:
            value = int(self.read(name) or 0) + int(amount)
        except ValueError:
            return encode(Exception("ERR value is not an integer or out of range"))
        self.write(name, b"%d" % value, self.left(name))
        return encode(value)

    def _do_decrby(self, connection: Connection, name: bytes, amount: bytes) -> bytes:
        return self._do_incrby(connection, name, b"%d" % -int(amount))

    def _do_expire(self, _: Connection, name: bytes, seconds: bytes) -> bytes:
        return encode(self.expire(name, int(seconds) * 1000))

    def _do_ttl(self, _: Connection, name: bytes) -> bytes:
        left = self.left(name)
        return encode(-1 - (not self.exists(name)) if left is None else round(left / 1000))

    def _do_rpush(self, _: Connection, name: bytes, *values: bytes) -> bytes:
        return encode(self.append(name, values))

    def _do_lpush(self, _: Connection, name: bytes, *values: bytes) -> bytes:
        return encode(self.replace_items(name, [*reversed(values), *self.items(name)]))

    def _do_llen(self, _: Connection, name: bytes) -> bytes:
        return encode(len(self.items(name)))

    def _do_lrange(self, _: Connection, name: bytes, first: bytes, last: bytes) -> bytes:
        return encode(_range(self.items(name), first, last))

    def _do_ltrim(self, _: Connection, name: bytes, first: bytes, last: bytes) -> bytes:
        self.replace_items(name, _range(self.items(name), first, last))
        return encode("OK")

    def _do_lpop(self, _: Connection, name: bytes) -> bytes:
        first, rest = self.items(name)[:1], self.items(name)[1:]
        self.replace_items(name, rest)
        return encode(first[0] if first else None)

    def _do_rpop(self, _: Connection, name: bytes) -> bytes:
        rest, last = self.items(name)[:-1], self.items(name)[-1:]
        self.replace_items(name, rest)
        return encode(last[0] if last else None)

    def _do_scan(self, _: Connection, __: bytes, ___: bytes, pattern: bytes, *____: bytes) -> bytes:
        matching = compile_pattern(pattern)
        return encode([b"0", [name for name in self.names() if matching.fullmatch(name)]])

    def _do_evalsha(self, _: Connection, *__: bytes) -> bytes:
        return encode(Exception("NOSCRIPT MemoryRedis is sent the text"))

    def _do_eval(self, _: Connection, text: bytes, count: bytes, *rest: bytes) -> bytes:
        script = SCRIPTS.get(text.decode())
        if script is None:
            raise NotImplementedError("MemoryRedis runs the scripts of Bus, and no others")
        names, arguments = rest[: int(count)], rest[int(count) :]
        return encode(script(self, names, arguments))

    def changed(self, name: bytes) -> None:
        """Notify the connections that track a variable of its change."""
        for connection in list(self._connections.values()):
            if name in connection.tracked:
                connection.tracked.remove(name)
                target = self._connections.get(connection.redirect)
                if target is not None and _INVALIDATIONS in target.channels:
                    self._send(target, [b"message", _INVALIDATIONS, [name]])

    # Pub/sub

    def _do_publish(self, _: Connection, channel: bytes, payload: bytes) -> bytes:
        return encode(self.publish(channel, payload))

    def publish(self, channel: bytes, payload: bytes) -> int:
        """Publish a message; return the number of subscriptions that receive it."""
        self.published.append(Delivery(decode(channel), None, payload))
        receivers = 0
        for connection in list(self._connections.values()):
            if channel in connection.channels:
                receivers += 1
                self._send(connection, [b"message", channel, payload])
            for pattern, matching in list(connection.patterns.items()):
                if matching.fullmatch(channel):
                    receivers += 1
                    self._send(connection, [b"pmessage", pattern, channel, payload])
        return receivers

    def _send(self, connection: Connection, message: list[Any]) -> None:
        self._later(lambda: connection.deliver(encode(message)))

    def _do_subscribe(self, connection: Connection, *names: bytes) -> bytes:
        connection.channels |= dict.fromkeys(names)
        return _acknowledge(b"subscribe", names)

    def _do_unsubscribe(self, connection: Connection, *names: bytes) -> bytes:
        for name in names:
            connection.channels.pop(name, None)
        return _acknowledge(b"unsubscribe", names)

    def _do_psubscribe(self, connection: Connection, *patterns: bytes) -> bytes:
        connection.patterns |= {pattern: compile_pattern(pattern) for pattern in patterns}
        return _acknowledge(b"psubscribe", patterns)

    def _do_punsubscribe(self, connection: Connection, *patterns: bytes) -> bytes:
        for pattern in patterns:
            connection.patterns.pop(pattern, None)
        return _acknowledge(b"punsubscribe", patterns)

    def _do_pubsub(self, _: Connection, what: bytes, *arguments: bytes) -> bytes:
        connections = self._connections.values()
        if what == b"NUMPAT":
            return encode(len({pattern for other in connections for pattern in other.patterns}))
        channels = {channel for other in connections for channel in other.channels}
        matching = compile_pattern(arguments[0])
        return encode([channel for channel in sorted(channels) if matching.fullmatch(channel)])


def _range(items: list[bytes], first: bytes, last: bytes) -> list[bytes]:
    """Return a part of a list, as LRANGE does: negative positions count from its end."""
    begin, end = (
        position + len(items) if position < 0 else position for position in (int(first), int(last))
    )
    return items[max(begin, 0) : max(end + 1, 0)]


def encode(reply: Any) -> bytes:
    """Encode a reply.

    Source: Redis serialization protocol (RESP), version 2.
    """
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Exception):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return b"+%b\r\n" % reply.encode()
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))


def _acknowledge(kind: bytes, names: Sequence[bytes]) -> bytes:
    return b"".join(encode([kind, name, 1]) for name in names)
