"""`LogPublisher`: writes a program's log to the lists that OpenTera's logging service reads.

It observes ``twisted.logger``; `LogPublisher.handler` returns a handler for ``logging``. Nothing
waits for Redis: unsent messages are queued up to a limit, above which the oldest are dropped.

The reactor sends the messages. In a child forked while the reactor was running, a thread sends
them.

Source: docs/reference/variables.md.
"""

from __future__ import annotations

import logging
import os
import sys
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
from opentera_twisted.link.blocking_connection import BlockingConnection
from opentera_twisted.messages import LogEvent, LoginEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.variables import LogList

MOST_WAITING: Final = 10_000
"""Maximum number of messages that wait for Redis."""

LONGEST_MESSAGE: Final = 16_384
"""Maximum length of a message, in characters."""

BATCH: Final = 100
"""Maximum number of messages in one command."""

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
    """Make a log message.

    Args:
        level: list of the message.
        message: text, truncated to `LONGEST_MESSAGE`.
        sender: sender, for display.
        timestamp: seconds since the epoch; None means now.

    Example:
        >>> event = log_event(LogList.INFO, "ready", sender="my-service", timestamp=0)
        >>> event.sender, event.message
        ('my-service', 'ready')
    """
    return LogEvent(
        level=f"LOGLEVEL_{level.name}",
        timestamp=time.time() if timestamp is None else timestamp,
        sender=_text(sender),
        message=_text(message),
    )


def log_payload(level: LogList, event: LogEvent | LoginEvent) -> bytes:
    """Serialize a message for its list.

    Example:
        >>> event = log_event(LogList.INFO, "ready", sender="my-service")
        >>> payload = log_payload(LogList.INFO, event)
        >>> await bus.redis.rpush(LogList.INFO.value, payload)
        1
    """
    header = event.log_header if isinstance(event, LoginEvent) else event
    return tera_event(level, [event], header.timestamp).SerializeToString()


class _Handler(logging.Handler):
    """A handler of ``logging`` that passes records to a publisher."""

    def __init__(self, publisher: LogPublisher, level: int) -> None:
        super().__init__(level)
        self._publisher = publisher

    def emit(self, record: logging.LogRecord) -> None:
        """Publish a record, from any thread."""
        try:
            level = next((name for at, name in _LOGGING if record.levelno >= at), LogList.TRACE)
            self._publisher.log(level, self.format(record), record.name, record.created)
        except Exception:  # noqa: BLE001 (as every handler of logging)
            self.handleError(record)


@implementer(ILogObserver)
class LogPublisher:
    """Write log messages to OpenTera's lists in Redis; an observer of ``twisted.logger``.

    It can be called in any thread and never blocks.

    Args:
        bus: a `Bus`, or another object with a link.
        sender: sender of messages from ``twisted.logger``, and of those that name none.
        most_waiting: messages that may wait for Redis; above it, the oldest are dropped.

    Attributes:
        dropped: number of messages that were dropped or that Redis refused.

    Example:
        >>> publisher = LogPublisher(bus, "my-service")
        >>> publisher.log(LogList.INFO, "ready")
        >>> await bus.redis.llen(LogList.INFO.value)
        1
    """

    def __init__(self, bus: HasLink, sender: str, most_waiting: int = MOST_WAITING) -> None:
        self.dropped = 0
        self._bus = bus
        self._sender = sender
        self._most_waiting = most_waiting
        self._lock = threading.RLock()  # re-entrant: a finalizer may log while it is held
        self._waiting: deque[tuple[LogList, bytes]] = deque()
        self._is_sending = False
        self._blocked: LogList | None = None
        self._flushed: Waiters[None] = Waiters()
        self._is_orphan = False
        _publishers.add(self)

    @property
    def address(self) -> RedisAddress:
        """Address of the Redis that holds the lists."""
        return self._bus.link.address

    @property
    def reactor(self) -> Any:
        """The reactor that sends, or None where a thread sends."""
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
        """Make a handler: ``logging.getLogger().addHandler(publisher.handler())``."""
        return _Handler(self, level)

    def log(
        self,
        level: LogList,
        message: str,
        sender: str | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Publish a message.

        Args:
            level: list of the message.
            message: text, truncated to `LONGEST_MESSAGE`.
            sender: sender of the message; None uses the publisher's.
            timestamp: seconds since the epoch; None means now.
        """
        self.push(level, log_event(level, message, sender or self._sender, timestamp))

    def login(self, event: LoginEvent, message: str = "", level: LogList = LogList.INFO) -> None:
        """Publish a login attempt.

        Args:
            event: the attempt; its ``log_header`` is filled in.
            message: text for display.
            level: list of the message.
        """
        complete = LoginEvent()
        complete.CopyFrom(event)
        complete.log_header.CopyFrom(log_event(level, message, self._sender))
        self.push(level, complete)

    def flush(self) -> Deferred[None]:
        """Wait, in the reactor's thread, until the queue is empty or its oldest has no link."""
        blocked = self._blocked
        if blocked is not None and not self._bus.link.is_node_ready(blocked.value):
            return succeed(None)
        with self._lock:  # a sending thread that ends afterwards sees who waits
            return self._flushed.wait() if self._is_sending else succeed(None)

    def push(self, level: LogList, event: LogEvent | LoginEvent) -> None:
        """Publish a complete message."""
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
        except RuntimeError:  # the program is exiting and starts no more threads
            self._send_plainly()

    def _send_over_link(self) -> None:
        sending = Deferred.fromCoroutine(self._send_all())
        sending.addErrback(lambda _: None)

    async def _send_all(self) -> None:
        """Send the queue while there is a link, in the reactor's thread."""
        try:
            while batch := self._take_batch():
                level, payloads = batch
                try:
                    ready = self._bus.link.node_ready(level.value)
                    if not ready.called:
                        self._blocked = level
                        self._flushed.fire(None)
                    await ready
                except BusError:  # the bus was stopped or closed
                    self.dropped += len(payloads)
                    continue
                finally:
                    self._blocked = None
                await self._send(level, payloads)
        finally:
            self._flushed.fire(None)

    async def _send(self, level: LogList, payloads: list[bytes]) -> None:
        try:
            await self._bus.link.execute("RPUSH", level.value, *payloads)
        except BusError:
            # Redis refused the messages, or may have written them: losing them is better than
            # writing them twice.
            self.dropped += len(payloads)

    def _send_plainly(self) -> None:
        """Send the queue over a separate connection, in a thread."""
        try:
            with BlockingConnection(self.address) as connection:
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
        reactor: Any = sys.modules.get("twisted.internet.reactor")
        if len(self._flushed) and reactor is not None:
            reactor.callFromThread(self._sent_plainly)  # made at its start if it does not run yet

    def _sent_plainly(self) -> None:
        """Fire all flushes, unless later messages are being sent."""
        if not self._is_sending:
            self._flushed.fire(None)

    def forked(self) -> None:
        """Reset in a child: the parent's reactor keeps running and sends the queue."""
        self._lock = threading.RLock()
        reactor = self.reactor
        if reactor is None or reactor.running:
            self._is_orphan = True
            self._flushed = Waiters()
            self._is_sending = False
            self._waiting.clear()

    def _take_batch(self) -> tuple[LogList, list[bytes]] | None:
        """Take the oldest messages of one list; None ends the sending."""
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
    """Convert to valid UTF-8 of limited length."""
    whole = str(text).encode(errors="backslashreplace").decode()
    return whole if len(whole) <= LONGEST_MESSAGE else f"{whole[:LONGEST_MESSAGE]}…"


_publishers: Final[WeakSet[LogPublisher]] = WeakSet()


def _forked() -> None:
    for publisher in list(_publishers):
        publisher.forked()


os.register_at_fork(after_in_child=_forked)
