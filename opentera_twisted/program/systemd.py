"""sd_notify: readiness, status, watchdog, stopping.

Source: sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.link import Link

LONGEST_STATUS: Final = 400
"""Characters of a status, at most; a datagram is limited."""


class Supervisor:
    """Reports the program's state to systemd, if systemd asks for it.

    It removes systemd's variables from the environment, so that child processes cannot notify.

    Args:
        link: link to Redis; the program is ready when the link is.
        environment: variables with ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.

    Attributes:
        watchdog: seconds between keep-alive messages; None if systemd wants none.
    """

    _log = Logger()

    def __init__(self, link: Link, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._address = _address(address)
        if address and self._address is None:
            self._log.warn("NOTIFY_SOCKET is not a Unix socket; not notifying systemd")
        self.watchdog: float | None = None
        if microseconds.isdecimal() and int(microseconds) and pid in {"", str(os.getpid())}:
            self.watchdog = int(microseconds) / 2_000_000  # twice per interval
        self._link = link
        self._alive = LoopingCall(self._notify, "WATCHDOG=1")
        self._alive.clock = link.clock
        self._fails = False
        self._is_started = False
        self._missing: Callable[[], str] = str  # nothing

    def wait_for(self, missing: Callable[[], str]) -> None:
        """Set a further condition of readiness; call `changed` when it changes.

        Args:
            missing: returns the reason why the program is not ready; empty when it is.
        """
        self._missing = missing

    def changed(self) -> None:
        """Check the further condition again."""
        if self._is_started and self._link.is_ready:
            self._ready()

    def start(self) -> None:
        """Start to notify, when the program listens and before its link starts."""
        if self._address is None:
            return
        self._is_started = True
        link = self._link
        self._status(f"waiting for Redis at {link.address}")
        link.on_ready.append(self._ready)
        link.on_lost.append(self._down)
        link.on_refused.append(self._down)
        if self.watchdog is not None:
            self._alive.start(self.watchdog)

    def stop(self) -> None:
        """Report that the program is stopping; keep-alive messages continue until it ends."""
        if self._address is None:
            return
        self._is_started = False
        link = self._link
        for observers, observer in (
            (link.on_ready, self._ready),
            (link.on_lost, self._down),
            (link.on_refused, self._down),
        ):
            if observer in observers:
                observers.remove(observer)  # type: ignore[arg-type]  # of its own list
        self._notify("STOPPING=1", "STATUS=closing clients")

    def _ready(self) -> None:
        missing = self._missing()
        if missing:
            self._status(missing)
        else:
            self._status(f"the link to Redis at {self._link.address} is ready", "READY=1")

    def _down(self, cause: Failure) -> None:
        self._status(f"no link to Redis at {self._link.address}: {cause.getErrorMessage()}")

    def _status(self, text: str, *assignments: str) -> None:
        line = " ".join(text.split())
        self._notify(*assignments, f"STATUS={line[:LONGEST_STATUS]}")

    def _notify(self, *assignments: str) -> None:
        assert self._address is not None  # noqa: S101 (`start` checks it)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except OSError as error:
            if not self._fails:  # the watchdog would repeat it endlessly
                self._log.warn("cannot notify systemd: {error}", error=str(error))
            self._fails = True
        else:
            self._fails = False


def _address(text: str) -> Any:
    """Return the socket's address for the kernel; None if it is not a Unix socket."""
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else None
