"""The audit log: logins, refusals, disconnects, kicks, and what the console's users did.

All lines go to one logger, `NAMESPACE`. They never contain a key, a token, or arguments of calls.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from opentera_twisted._internal.ip_addresses import network_of
from opentera_twisted._internal.printable import printable
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.summed_log import SummedLog
from opentera_twisted.gateway.trusted_proxies import Peer
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import Kind

NAMESPACE: Final = "opentera_twisted.audit"
"""Name of the logger."""

LONGEST: Final = 200
"""Characters of another program's text in a line, at most."""


class _Silent(Logger):
    """A logger that writes nothing."""

    def emit(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing."""

    info = emit  # without a step in between


def _logger(*, is_on: bool) -> Logger:
    return Logger(NAMESPACE) if is_on else _Silent(NAMESPACE)


class GatewayAudit:
    """Writes the lines of one gateway.

    Args:
        is_on: False writes nothing.
        clock: Twisted reactor.
    """

    def __init__(self, clock: IReactorTime, *, is_on: bool) -> None:
        self._log = _logger(is_on=is_on)
        self._refusals = SummedLog(self._log, clock)

    def start(self) -> None:
        """Start to sum up refusals."""
        self._refusals.start()

    def stop(self) -> None:
        """Write the remaining sums, and stop."""
        self._refusals.stop()

    def login(self, identity: Identity, peer: Peer, *, is_return: bool) -> None:
        """Write that a client has logged in, or has returned with its recovery token."""
        self._log.info(
            "login kind={kind} uuid={uuid} address={address} scheme={scheme} method={method}",
            kind=identity.kind,
            uuid=identity.uuid,
            address=peer.address,
            scheme=_scheme(peer),
            method="recovery" if is_return else "key",
        )

    def refusal(self, kind: Kind | None, peer: Peer, refusal: Refusal) -> None:
        """Write the first refusal of an address and cause in a minute; count further ones."""
        self._refusals.add(
            (network_of(peer.address), kind, refusal.status, refusal.cause),
            LogLevel.info,
            "refusal kind={kind} address={address} scheme={scheme} status={status} cause={cause!r}",
            kind=kind or "unknown",
            address=peer.address,
            scheme=_scheme(peer),
            status=int(refusal.status),
            cause=_bounded(refusal.cause),
        )

    def disconnect(self, identity: Identity, peer: Peer, seconds: float, cause: str) -> None:
        """Write that a websocket has closed, with its cause and duration."""
        self._log.info(
            "disconnect kind={kind} uuid={uuid} address={address} seconds={seconds:.3f} "
            "cause={cause!r}",
            kind=identity.kind,
            uuid=identity.uuid,
            address=peer.address,
            seconds=seconds,
            cause=_bounded(cause),
        )

    def kick(self, kind: Kind | None, uuid: str, by: str, websockets: int) -> None:
        """Write that the gateway closes an identity's websockets on somebody's request."""
        if websockets:
            self._log.info(
                "kick kind={kind} uuid={uuid} by={by!r} websockets={websockets}",
                kind=kind or "any",
                uuid=uuid,
                by=_bounded(by) or "unknown",
                websockets=websockets,
            )


class ConsoleAudit:
    """Writes what users of the console do.

    Args:
        is_on: False writes nothing.
    """

    def __init__(self, *, is_on: bool) -> None:
        self._log = _logger(is_on=is_on)

    def call(self, address: str, server: str, procedure: str, outcome: str, seconds: float) -> None:
        """Write that a user of the console has called a procedure."""
        self._log.info(
            "console-call address={address} server={server!r} procedure={procedure!r} "
            "outcome={outcome} seconds={seconds:.3f}",
            address=address,
            server=_bounded(server),
            procedure=_bounded(procedure),
            outcome=outcome,
            seconds=seconds,
        )

    def key(self, address: str, kind: Kind, uuid: str) -> None:
        """Write that a user of the console has issued a session key."""
        self._log.info(
            "console-key address={address} kind={kind} uuid={uuid}",
            address=address,
            kind=kind,
            uuid=uuid,
        )

    def disconnect(self, address: str, kind: Kind, uuid: str) -> None:
        """Write that a user of the console has disconnected an identity."""
        self._log.info(
            "console-disconnect address={address} kind={kind} uuid={uuid}",
            address=address,
            kind=kind,
            uuid=uuid,
        )


def _bounded(text: str) -> str:
    """Return another program's text, printable and not too long."""
    return printable(text, keep="")[:LONGEST]


def _scheme(peer: Peer) -> str:
    return "wss" if peer.secure else "ws"
