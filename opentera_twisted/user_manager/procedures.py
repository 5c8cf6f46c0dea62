"""The module's procedures, which existing OpenTera programs call at every login."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any, Final

from opentera_twisted.errors import ProcedureError
from opentera_twisted.rpc import Procedures
from opentera_twisted.user_manager.registry import Registry

_OURS: Final = "opentera-twisted "


class Module:
    """Procedures for online identities and identities in a session.

    Source: docs/reference/wire.md.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def online_users(self) -> list[str]:
        """Return the UUIDs of the online users."""
        return await self._registry.online("user")

    async def online_participants(self) -> list[str]:
        """Return the UUIDs of the online participants."""
        return await self._registry.online("participant")

    async def online_devices(self) -> list[str]:
        """Return the UUIDs of the online devices."""
        return await self._registry.online("device")

    async def busy_users(self) -> dict[str, str]:
        """Return the users in a session: UUID to UUID of the session."""
        return await self._registry.busy("user")

    async def busy_participants(self) -> dict[str, str]:
        """Return the participants in a session: UUID to UUID of the session."""
        return await self._registry.busy("participant")

    async def busy_devices(self) -> dict[str, str]:
        """Return the devices in a session: UUID to UUID of the session."""
        return await self._registry.busy("device")

    async def status_users(self) -> dict[str, dict[str, Any]]:
        """Return the flags ``online`` and ``busy`` of users with at least one of them."""
        return await self._registry.status("user")

    async def status_participants(self) -> dict[str, dict[str, Any]]:
        """Return the flags ``online`` and ``busy`` of participants with at least one of them."""
        return await self._registry.status("participant")

    async def status_devices(self) -> dict[str, dict[str, Any]]:
        """Return ``online``, ``busy`` and the latest status of devices that are online or busy."""
        devices = await self._registry.status("device")
        statuses = await self._registry.device_statuses()
        return {uuid: {**flags, "status": statuses.get(uuid)} for uuid, flags in devices.items()}

    async def update_device_status(
        self, uuid: str, status: str, timestamp: float
    ) -> dict[str, str | float] | None:
        """Store an online device's status and return it; return null if it is offline."""
        if not math.isfinite(timestamp):
            raise ProcedureError(f"the timestamp must be a finite number, not {timestamp}")
        if not await self._registry.set_device_status(uuid, status, timestamp):
            return None
        return {"uuid": uuid, "status": status, "timestamp": timestamp}


def procedures(registry: Registry) -> Procedures:
    """Describe the module's procedures, with a version that identifies this package."""
    doc = "Users, participants and devices that are online, or busy in a session."
    return Procedures.of(Module(registry), f"{_OURS}{version('opentera-twisted')}", doc)


def is_ours(ping: Any) -> bool:
    """Return True if this package sent a reply to ``opentera.ping``."""
    return isinstance(ping, dict) and str(ping.get("version", "")).startswith(_OURS)
