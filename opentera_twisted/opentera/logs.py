"""`LoggingClient`: log messages for OpenTera's logging service, from any thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentera_twisted.logs import log_event
from opentera_twisted.messages import LogEvent, LoginEvent
from opentera_twisted.opentera import sync_commands
from opentera_twisted.opentera.names import prefer
from opentera_twisted.opentera.threads import in_reactor
from opentera_twisted.reactor_thread import BusLease, ThreadLogPublisher
from opentera_twisted.variables import LogList


class LoggingClient:
    """Write log messages to Redis, without blocking.

    A thread writes where no reactor runs, such as before its start or in a forked process.

    Args:
        config: as in `RedisClient`.
        client_name: name in Redis's client list, if it is the first client of the process.

    Example:
        >>> logs = LoggingClient({"hostname": "127.0.0.1", "port": 6379, "db": 0})
        >>> logs.log_info("my-service", "ready after", 2, "seconds")
    """

    def __init__(self, config: Mapping[str, Any], client_name: str = "LoggingClient") -> None:
        prefer("LoggingClient", "LogPublisher, which publishes the messages of any logger")
        self.client_name = client_name
        self._lease = BusLease(sync_commands.address(config), client_name)
        self._publisher = ThreadLogPublisher(self._lease, client_name)

    def close(self) -> None:
        """Stop logging."""
        in_reactor(self._lease.close).addErrback(lambda _: None)

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

    def send_login_event(
        self,
        sender: str,
        level: int,
        login_type: int,
        login_status: int,
        client_name: str,
        client_version: str,
        client_ip: str,
        os_name: str,
        os_version: str,
        user_uuid: str | None = "",
        participant_uuid: str | None = "",
        device_uuid: str | None = "",
        service_uuid: str | None = "",
        server_endpoint: str = "",
        message: str = "",
    ) -> None:
        """Log a login attempt.

        Args:
            sender: part of the program, for display.
            level: a ``LogEvent.LOGLEVEL_…``, which selects the list.
            login_type: a ``LoginEvent.LOGIN_TYPE_…``.
            login_status: a ``LoginEvent.LOGIN_STATUS_…``.
            client_name: name of the program that logs in.
            client_version: its version.
            client_ip: its IP address.
            os_name: its operating system.
            os_version: version of the operating system.
            user_uuid: UUID of the user, if a user logs in.
            participant_uuid: UUID of the participant, if a participant logs in.
            device_uuid: UUID of the device, if a device logs in.
            service_uuid: UUID of the service that logs in or reports the login, if any.
            server_endpoint: path of the request.
            message: text for display.
        """
        try:
            log_list = LogList[LogEvent.LogLevel.Name(level).removeprefix("LOGLEVEL_")]
        except (KeyError, ValueError):
            log_list = LogList.INFO  # lists of other names have no reader
        event = LoginEvent(
            log_header=log_event(log_list, message, sender),
            login_type=login_type,  # type: ignore[arg-type]  # any number
            login_status=login_status,  # type: ignore[arg-type]
            client_name=client_name,
            client_version=client_version,
            client_ip=client_ip,
            os_name=os_name,
            os_version=os_version,
            user_uuid=user_uuid,
            participant_uuid=participant_uuid,
            device_uuid=device_uuid,
            service_uuid=service_uuid,
            server_endpoint=server_endpoint,
        )
        event.log_header.level = level  # type: ignore[assignment]
        self._publisher.push(log_list, event)

    def _push(self, level: LogList, sender: str, args: tuple[object, ...]) -> None:
        self._publisher.push(level, log_event(level, str(args), sender))
