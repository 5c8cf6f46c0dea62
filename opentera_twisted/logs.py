"""`LogPublisher`: what a program logs, on the lists in Redis that deployed logging services read.

It observes ``twisted.logger``, and its `LogPublisher.handler` does for ``logging``. Nothing waits
for Redis: what cannot be sent yet is kept, up to a limit, and of more the oldest is dropped.

The reactor sends. In the child of a process whose reactor ran at the fork, a thread does.

Source: docs/reference/variables.md.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Any, Final
from weakref import WeakSet

from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogLevel, formatEvent
from twisted.logger import LogEvent as TwistedEvent
from zope.interface import implementer

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusError, ConnectionLost
from opentera_twisted.link import HasLink, RedisAddress
from opentera_twisted.link.plain import PlainConnection
from opentera_twisted.messages import LogEvent, LoginEvent
from opentera_twisted.messages.packing import tera_event
from opentera_twisted.variables import LogList

MOST_WAITING: Final = 10_000
"""Log messages that wait for Redis at most."""

LONGEST_MESSAGE: Final = 16_384
"""Characters of one message at most."""

BATCH: Final = 100
"""Messages in one command at most."""

_TWISTED: Final = {
    LogLevel.debug: LogList.DEBUG,
    LogLevel.info: LogList.INFO,
    LogLevel.warn: LogList.WARNING,
    LogLevel.error: LogList.ERROR,
    LogLevel.critical: LogList.CRITICAL,
}

_LOGGING: Final = (
    (logging.CRITICAL, LogList.CRITICAL),
    (logging.ERROR, LogList.ERROR),
    (logging.WARNING, LogList.WARNING),
    (logging.INFO, LogList.INFO),
    (logging.DEBUG, LogList.DEBUG),
)


def log_event(
    level: LogList, message: str, sender: str, timestamp: float | None = None
) -> LogEvent:
    """One message of a log.

    Args:
        level: the list that it is for.
        message: cut after `LONGEST_MESSAGE`.
        sender: for people to read.
        timestamp: seconds since the epoch; now when None.
    """
    return LogEvent(
        level=f"LOGLEVEL_{level.name}",
        timestamp=time.time() if timestamp is None else timestamp,
        sender=_text(sender),
        message=_text(message),
    )


def log_payload(level: LogList, event: LogEvent | LoginEvent) -> bytes:
    """A message as it stands in a list."""
    header = event.log_header if isinstance(event, LoginEvent) else event
    return tera_event(level, [event], header.timestamp).SerializeToString()


class _Handler(logging.Handler):
    """Hands records of ``logging`` to a publisher."""

    def __init__(self, publisher: LogPublisher, level: int) -> None:
        super().__init__(level)
        self._publisher = publisher

    def emit(self, record: logging.LogRecord) -> None:
        """Publish a record, whatever the thread."""
        try:
            level = next((one for at, one in _LOGGING if record.levelno >= at), LogList.TRACE)
            self._publisher.log(level, self.format(record), record.name, record.created)
        except Exception:  # noqa: BLE001 (as every handler of logging)
            self.handleError(record)


@implementer(ILogObserver)
class LogPublisher:
    """Writes log messages to the lists of deployed programs; an observer of ``twisted.logger``.

    It may be called in any thread, and never blocks.

    Args:
        bus: through which Redis is reached.
        sender: named in the messages of ``twisted.logger``, and of those without a sender.
        most_waiting: messages that wait for Redis; of more the oldest are dropped.

    Attributes:
        dropped: how many messages were dropped, or refused by Redis.
    """

    def __init__(self, bus: HasLink, sender: str, most_waiting: int = MOST_WAITING) -> None:
        self.dropped = 0
        self._bus = bus
        self._sender = sender
        self._most_waiting = most_waiting
        self._lock = threading.RLock()  # a finalizer may log in the midst of it
        self._waiting: deque[tuple[LogList, bytes]] = deque()
        self._is_sending = False
        self._flushed: Waiters[None] = Waiters()
        self._is_orphan = False
        _publishers.add(self)

    @property
    def address(self) -> RedisAddress:
        """Address of the Redis that holds the lists."""
        return self._bus.link.address

    @property
    def reactor(self) -> Any:
        """The reactor that sends, or None where a thread has to."""
        return None if self._is_orphan else self._bus.link.reactor

    def __call__(self, event: TwistedEvent) -> None:
        """Publish an event of ``twisted.logger``."""
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}".lstrip("\n")
        level = _TWISTED.get(event.get("log_level", LogLevel.info), LogList.INFO)
        namespace = event.get("log_namespace") or ""
        sender = f"{self._sender}.{namespace}" if namespace else self._sender
        self.log(level, text, sender, event.get("log_time"))

    def handler(self, level: int = logging.NOTSET) -> logging.Handler:
        """A handler for ``logging``: ``logging.getLogger().addHandler(publisher.handler())``."""
        return _Handler(self, level)

    def log(
        self,
        level: LogList,
        message: str,
        sender: str | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Publish one message.

        Args:
            level: the list that it goes to.
            message: cut after `LONGEST_MESSAGE`.
            sender: of the message.
            timestamp: seconds since the epoch; now when None.
        """
        self.push(level, log_event(level, message, sender or self._sender, timestamp))

    def login(self, event: LoginEvent, message: str = "", level: LogList = LogList.INFO) -> None:
        """Publish an attempt to log in.

        Args:
            event: who, how and with what success; its ``log_header`` is filled in here.
            message: for people to read.
            level: the list that it goes to.
        """
        complete = LoginEvent()
        complete.CopyFrom(event)
        complete.log_header.CopyFrom(log_event(level, message, self._sender))
        self.push(level, complete)

    def flush(self) -> Deferred[None]:
        """Wait, in the reactor's thread, until nothing waits; fires at once without a link."""
        if not self._is_sending or not self._bus.link.is_ready:
            return succeed(None)
        return self._flushed.wait()

    def push(self, level: LogList, event: LogEvent | LoginEvent) -> None:
        """Publish a message that is made already."""
        payload = log_payload(level, event)
        with self._lock:
            if len(self._waiting) >= self._most_waiting:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((level, payload))
            begin = not self._is_sending
            self._is_sending = True
        if begin:
            self._begin()

    def _begin(self) -> None:
        reactor = self.reactor
        if reactor is not None:
            reactor.callFromThread(self._send_over_link)
            return
        thread = threading.Thread(target=self._send_plainly, name="opentera-bus log")
        try:
            thread.start()
        except RuntimeError:  # the program is ending, and starts no more threads
            self._send_plainly()

    def _send_over_link(self) -> None:
        sending = Deferred.fromCoroutine(self._send_all())
        sending.addErrback(lambda _: None)

    async def _send_all(self) -> None:
        """Send what waits, for as long as there is a link; in the reactor's thread."""
        try:
            while batch := self._take_batch():
                level, payloads = batch
                try:
                    await self._bus.link.ready()
                except BusError:  # the bus was stopped
                    self.dropped += len(payloads)
                    continue
                await self._send(level, payloads)
        finally:
            self._flushed.fire(None)

    async def _send(self, level: LogList, payloads: list[bytes]) -> None:
        try:
            await self._bus.link.execute("RPUSH", level.value, *payloads)
        except BusError:
            # Refused, or maybe written: twice would be worse than not at all.
            self.dropped += len(payloads)

    def _send_plainly(self) -> None:
        """Send what waits over a connection of its own, in a thread."""
        try:
            with PlainConnection(self.address) as connection:
                while batch := self._take_batch():
                    level, payloads = batch
                    try:
                        connection.execute("RPUSH", level.value, *payloads)
                    except BusError as error:
                        self.dropped += len(payloads)
                        if isinstance(error, ConnectionLost):
                            raise
        except BusError:
            with self._lock:
                self._is_sending = False  # the next message tries again

    def forked(self) -> None:
        """Begin anew in a child: the parent keeps its running reactor, and sends what waited."""
        self._lock = threading.RLock()
        reactor = self.reactor
        if reactor is None or reactor.running:
            self._is_orphan = True
            self._is_sending = False
            self._waiting.clear()

    def _take_batch(self) -> tuple[LogList, list[bytes]] | None:
        """The oldest messages that go to one list; None ends the sending."""
        with self._lock:
            if not self._waiting:
                self._is_sending = False
                return None
            level = self._waiting[0][0]
            payloads: list[bytes] = []
            while self._waiting and self._waiting[0][0] == level and len(payloads) < BATCH:
                payloads.append(self._waiting.popleft()[1])
            return level, payloads


def _text(text: Any) -> str:
    """What protobuf can hold, and people can read."""
    whole = str(text).encode(errors="backslashreplace").decode()
    return whole if len(whole) <= LONGEST_MESSAGE else f"{whole[:LONGEST_MESSAGE]}…"


_publishers: Final[WeakSet[LogPublisher]] = WeakSet()


def _forked() -> None:
    for publisher in list(_publishers):
        publisher.forked()


os.register_at_fork(after_in_child=_forked)
