"""`LoggingClient`: log messages for the deployed logging service, from any thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError
from opentera_twisted.logs import LogPublisher, log_event, log_payload
from opentera_twisted.messages import LogEvent
from opentera_twisted.opentera import early
from opentera_twisted.opentera.names import prefer
from opentera_twisted.opentera.threads import in_reactor, is_running
from opentera_twisted.reactor_thread import Use
from opentera_twisted.variables import LogList


class LoggingClient:
    """Writes log messages to Redis, without ever waiting for it.

    Before the reactor runs, each message is written at once.

    Args:
        config: as of `RedisClient`.
        client_name: in Redis's list of clients, if it is the first of the process.
    """

    _log = Logger()

    def __init__(self, config: Mapping[str, Any], client_name: str = "LoggingClient") -> None:
        prefer("LoggingClient", "LogPublisher, which takes what any logger logs")
        self.client_name = client_name
        self._address = early.address(config)
        self._use = Use(self._address, client_name)
        self._publisher: LogPublisher | None = None

    def close(self) -> None:
        """Log no more."""
        in_reactor(self._use.close).addErrback(lambda _: None)

    def log_trace(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.TRACE, sender, args)

    def log_debug(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.DEBUG, sender, args)

    def log_info(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.INFO, sender, args)

    def log_warning(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.WARNING, sender, args)

    def log_critical(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.CRITICAL, sender, args)

    def log_error(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.ERROR, sender, args)

    def log_fatal(self, sender: str, *args: object) -> None:
        """Log arguments as one message."""
        self._push(LogList.FATAL, sender, args)

    def _push(self, level: LogList, sender: str, args: tuple[object, ...]) -> None:
        event = log_event(level, str(args), sender)
        if self._publisher is not None:
            self._publisher.push(level, event)
            return
        if is_running():
            in_reactor(lambda: self._publish(level, event)).addErrback(self._not_written)
            return
        try:
            early.execute(self._address, "RPUSH", level.value, log_payload(level, event))
        except BusError:
            self._not_written(Failure())

    def _publish(self, level: LogList, event: LogEvent) -> None:
        if self._publisher is None:
            self._publisher = LogPublisher(self._use.bus, self.client_name)
        self._publisher.push(level, event)

    def _not_written(self, failure: Failure) -> None:
        self._log.warn("a log message is lost: {reason}", reason=failure.getErrorMessage())
