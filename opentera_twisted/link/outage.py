"""The log of an outage of the link: its beginning, a line each minute, its end."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from opentera_twisted.link.address import RedisAddress

INTERVAL: Final = 60.0
"""Seconds between two lines of an outage."""


class Outage:
    """Logs the outages of one link.

    Args:
        log: receives the lines.
        address: address of Redis.
        clock: measures outages and gaps.
    """

    def __init__(self, log: Logger, address: RedisAddress, clock: IReactorTime) -> None:
        self._log = log
        self._address = address
        self._clock = clock
        self._cause = ""
        self._began: float | None = None
        self._gap_began: float | None = None
        self._gap = 0.0
        self._reminder: IDelayedCall | None = None

    def failed(self, role: str, cause: str, level: LogLevel) -> None:
        """Log a failure whose cause differs from the last one; the first begins the outage."""
        if self._began is None:
            self._began = self._clock.seconds()
            self._reminder = self._clock.callLater(INTERVAL, self._remind)
        if cause != self._cause:  # log a cause once, not at each attempt
            self._cause = cause
            self._log.emit(
                level,
                "no {role} connection to Redis at {address}, trying again: {cause}",
                role=role,
                address=self._address,
                cause=cause,
            )

    def gap_began(self) -> None:
        """Record that published messages are missed from now on."""
        if self._gap_began is None:
            self._gap_began = self._clock.seconds()

    def gap_ended(self) -> None:
        """Record that all subscriptions are restored."""
        if self._gap_began is not None:
            self._gap += self._clock.seconds() - self._gap_began
            self._gap_began = None

    def ended(self) -> None:
        """Log that the link is ready, with the length of the outage and of its gap."""
        began, gap = self._began, self._gap
        self.stop()
        if began is None:
            self._log.info("link to Redis at {address} is ready", address=self._address)
            return
        self._log.info(
            "link to Redis at {address} is ready after {seconds:.1f} s without it; {missed}",
            address=self._address,
            seconds=self._clock.seconds() - began,
            missed=f"messages of {gap:.1f} s may have been missed" if gap else "no gap",
        )

    def stop(self) -> None:
        """Forget the outage."""
        if self._reminder is not None:
            self._reminder.cancel()
        self._reminder = self._began = self._gap_began = None
        self._cause, self._gap = "", 0.0

    def _remind(self) -> None:
        self._reminder = self._clock.callLater(INTERVAL, self._remind)
        if self._began is not None:
            self._log.warn(
                "no link to Redis at {address} for {seconds:.0f} s: {cause}",
                address=self._address,
                seconds=self._clock.seconds() - self._began,
                cause=self._cause,
            )
