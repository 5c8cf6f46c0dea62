"""Readiness and state of the program, for ``/health`` and the console."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from time import time
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.recovery import OUTCOMES
from opentera_twisted.link import location
from opentera_twisted.sessions import SessionKeys

CHECK_INTERVAL: Final = 2.0
"""Seconds between checks that logins work."""

_VERSIONS: Final = re.compile(rb"^(redis|valkey)_version:([\w.-]+)", re.MULTILINE)


class Health:
    """Health of a bus and a gateway."""

    def __init__(self, bus: Bus, gateway: Gateway | None) -> None:
        self._bus = bus
        self._gateway = gateway
        self._started = time()
        self._redis: str | None = None
        self._versions = {
            "opentera-twisted": version("opentera-twisted"),
            "python": platform.python_version(),
            "twisted": version("twisted"),
        }
        self._keys = SessionKeys(bus)
        self._refusal = ""
        self._changed = 0.0
        self._checks = LoopingCall(self._check)
        self._checks.clock = bus.link.clock
        bus.link.on_ready.append(self._ready)
        if bus.link.is_ready:
            self._read_version()

    def start(self) -> None:
        """Start checking that logins work."""
        self._checks.start(CHECK_INTERVAL)

    def stop(self) -> None:
        """Stop checking."""
        self._checks.stop()

    @property
    def is_ready(self) -> bool:
        """Return True if clients can log in and receive events."""
        return self._bus.link.is_ready and not self._refusal

    @property
    def version(self) -> str:
        """Return the version of this package."""
        return self._versions["opentera-twisted"]

    @property
    def status(self) -> str:
        """Return ``ready`` or ``unavailable``."""
        return "ready" if self.is_ready else "unavailable"

    def page(self) -> dict[str, Any]:
        """Return the whole state, with times in UTC."""
        link = self._bus.link
        since = {name: counts.since for name, counts in link.statistics.items()}
        page: dict[str, Any] = {
            "status": self.status,
            "since": _text(self._since()),
            "started": _text(self._started),
            "redis": {
                "address": str(link.address),
                **link.states,
                "since": {name: _text(seconds) for name, seconds in since.items()},
                "reconnects": link.reconnects,
                "gaps": link.gaps,
            },
            "subscriptions": {
                "wanted": len(link.subscriptions.wanted),
                "acknowledged": len(link.subscriptions.acknowledged),
            },
            "clients": {} if self._gateway is None else dict(self._gateway.clients),
            "recovery": self._recovery(),
            "version": self.version,
            "versions": {**self._versions, "redis": self._redis},
        }
        if link.nodes:
            page["redis"]["nodes"] = self._nodes()
        cause = self._refusal if link.is_ready else link.cause
        if not self.is_ready and cause:
            page["redis"]["cause"] = cause
        return page

    def _nodes(self) -> dict[str, Any]:
        """Return the state of each primary of a cluster."""
        link = self._bus.link
        slots = link.slots
        return {
            location(*address): {
                "role": "primary",
                "slots": slots.get(address, 0),
                **node.states,
                "topics": {
                    "wanted": len(node.subscriptions.wanted),
                    "acknowledged": len(node.subscriptions.acknowledged),
                },
                "ready": node.is_ready,
            }
            for address, node in sorted(link.nodes.items())
        }

    def _recovery(self) -> dict[str, Any]:
        """Return the clients that are away, the bytes held, and the returns by outcome."""
        if self._gateway is None:
            return {"away": 0, "bytes": 0, "outcomes": {}}
        recovery = self._gateway.recovery
        return {
            "away": recovery.held,
            "bytes": recovery.bytes,
            "outcomes": {outcome: recovery.outcomes[outcome] for outcome in OUTCOMES},
        }

    def _since(self) -> float:
        """Return the time of the last change of the status."""
        states: Mapping[str, str] = self._bus.link.states
        since = {name: counts.since for name, counts in self._bus.link.statistics.items()}
        broken = [since[name] for name, state in states.items() if state != "ready"]
        # A link that was stopped is not ready while its connections still are.
        return min(broken) if broken else max(*since.values(), self._changed)

    def _check(self) -> Deferred[None] | None:
        """Check that logins work: a replica, or a cluster that is down, accepts connections too."""
        if not self._bus.link.is_ready:
            return None
        return self._keys.check().addCallbacks(
            lambda _: self._checked(""), lambda failure: self._checked(failure.getErrorMessage())
        )

    def _checked(self, refusal: str) -> None:
        if bool(refusal) != bool(self._refusal):
            self._changed = time()
        self._refusal = refusal

    def _ready(self) -> None:
        self._read_version()
        if self._checks.running:
            self._check()

    def _read_version(self) -> None:
        reply = self._bus.link.execute("INFO", "server")
        reply.addCallbacks(self._got_version, lambda _: None)  # the user may lack the right

    def _got_version(self, info: bytes) -> None:
        found = dict(_VERSIONS.findall(info))
        name = b"valkey" if b"valkey" in found else b"redis"  # Valkey reports a Redis version too
        if name in found:
            self._redis = f"{name.decode()} {found[name].decode()}"


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
