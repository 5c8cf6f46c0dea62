"""How the program is: the object behind ``/health``, which the console shows too."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from time import time
from typing import Any, Final

from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway

_VERSIONS: Final = re.compile(rb"^(redis|valkey)_version:([\w.-]+)", re.MULTILINE)


class Health:
    """Looks at a bus and a gateway when it is asked.

    Args:
        bus: its link decides whether all is well.
        gateway: whose clients are counted; None: there is none.
    """

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
        bus.link.on_ready.append(self._ask_version)
        if bus.link.is_ready:
            self._ask_version()

    @property
    def is_ready(self) -> bool:
        """Whether clients can log in and get their events."""
        return self._bus.link.is_ready

    @property
    def version(self) -> str:
        """Of this package."""
        return self._versions["opentera-twisted"]

    @property
    def status(self) -> str:
        """In a word: ``ready`` or ``unavailable``."""
        return "ready" if self.is_ready else "unavailable"

    def page(self) -> dict[str, Any]:
        """All of it; times in UTC."""
        link = self._bus.link
        since = {name: one.since for name, one in link.statistics.items()}
        page: dict[str, Any] = {
            "status": self.status,
            "since": _text(max(since.values()) if self.is_ready else self._unavailable_since()),
            "started": _text(self._started),
            "redis": {
                "address": str(link.address),
                **link.states,
                "since": {name: _text(seconds) for name, seconds in since.items()},
                "reconnects": {
                    name: max(one.connected - 1, 0) for name, one in link.statistics.items()
                },
                "gaps": link.gaps,
            },
            "subscriptions": {
                "wanted": len(link.subscriptions.wanted),
                "acknowledged": len(link.subscriptions.acknowledged),
            },
            "clients": {} if self._gateway is None else dict(self._gateway.clients),
            "version": self.version,
            "versions": {**self._versions, "redis": self._redis},
        }
        if not self.is_ready and link.cause:
            page["redis"]["cause"] = link.cause
        return page

    def _unavailable_since(self) -> float:
        states: Mapping[str, str] = self._bus.link.states
        statistics = self._bus.link.statistics
        return min(statistics[name].since for name, state in states.items() if state != "ready")

    def _ask_version(self) -> None:
        asked = self._bus.link.execute("INFO", "server")
        asked.addCallbacks(self._got_version, lambda _: None)  # it may be forbidden

    def _got_version(self, info: bytes) -> None:
        found = dict(_VERSIONS.findall(info))
        name = b"valkey" if b"valkey" in found else b"redis"  # Valkey names a Redis version too
        if name in found:
            self._redis = f"{name.decode()} {found[name].decode()}"


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
