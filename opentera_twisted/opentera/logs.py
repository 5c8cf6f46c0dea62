"""`LoggingClient`: log messages for the deployed logging service, from any thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentera_twisted.logs import log_event
from opentera_twisted.opentera import early
from opentera_twisted.opentera.names import prefer
from opentera_twisted.opentera.threads import in_reactor
from opentera_twisted.reactor_thread import ThreadLogPublisher, Use
from opentera_twisted.variables import LogList


class LoggingClient:
    """Writes log messages to Redis, without ever waiting for it.

    A thread writes where no reactor runs, as before its start or in a forked process.

    Args:
        config: as of `RedisClient`.
        client_name: in Redis's list of clients, if it is the first of the process.
    """

    def __init__(self, config: Mapping[str, Any], client_name: str = "LoggingClient") -> None:
        prefer("LoggingClient", "LogPublisher, which takes what any logger logs")
        self.client_name = client_name
        self._use = Use(early.address(config), client_name)
        self._publisher = ThreadLogPublisher(self._use, client_name)

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
        self._publisher.push(level, log_event(level, str(args), sender))
