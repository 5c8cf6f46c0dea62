"""What systemd is told of the program: ready, its state in words, alive, stopping.

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
"""Characters of a state in words, at most; a datagram has its limit."""


class Supervisor:
    """Tells systemd how the program is, if it was started by one that asks.

    Its variables are taken out of the environment: what the program starts has no say there.

    Args:
        link: without which the program is not ready.
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are.

    Attributes:
        watchdog: seconds between two signs of life; None when none are asked for.
    """

    _log = Logger()

    def __init__(self, link: Link, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._address = _address(address)
        if address and self._address is None:
            self._log.warn("NOTIFY_SOCKET names no Unix socket; systemd is told nothing")
        self.watchdog: float | None = None
        if microseconds.isdecimal() and int(microseconds) and pid in {"", str(os.getpid())}:
            self.watchdog = int(microseconds) / 2_000_000  # twice in the time it allows
        self._link = link
        self._alive = LoopingCall(self._tell, "WATCHDOG=1")
        self._alive.clock = link.clock
        self._fails = False
        self._is_started = False
        self._missing: Callable[[], str] = str  # nothing

    def wait_for(self, missing: Callable[[], str]) -> None:
        """Have something else be waited for, beside the link; `changed` tells that it has changed.

        Args:
            missing: says in words what is not as it should be; empty when all is.
        """
        self._missing = missing

    def changed(self) -> None:
        """What is waited for beside the link has changed."""
        if self._is_started and self._link.is_ready:
            self._ready()

    def start(self) -> None:
        """Begin to tell; the program listens already, and its link is about to be started."""
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
        """Tell that the program is ending; signs of life go on until it has ended."""
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
        self._tell("STOPPING=1", "STATUS=sending clients away")

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
        self._tell(*assignments, f"STATUS={line[:LONGEST_STATUS]}")

    def _tell(self, *assignments: str) -> None:
        assert self._address is not None  # noqa: S101 (else nothing was started)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except OSError as error:
            if not self._fails:  # a watchdog would say so for ever
                self._log.warn("systemd cannot be told of the state: {error}", error=str(error))
            self._fails = True
        else:
            self._fails = False


def _address(text: str) -> Any:
    """The socket's address as the kernel takes it; None when it is no Unix socket's."""
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else None
