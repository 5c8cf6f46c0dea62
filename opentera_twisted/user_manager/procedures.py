"""The procedures of the module, which deployed programs call at every login."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any, Final

from opentera_twisted.errors import ProcedureError
from opentera_twisted.rpc import Procedures
from opentera_twisted.user_manager.registry import Registry

_OURS: Final = "opentera-twisted "


class Module:
    """Who is online, and who is busy in a session.

    Source: docs/reference/wire.md.

    Args:
        registry: has the answers.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def online_users(self) -> list[str]:
        """UUIDs of the users who are online."""
        return await self._registry.online("user")

    async def online_participants(self) -> list[str]:
        """UUIDs of the participants who are online."""
        return await self._registry.online("participant")

    async def online_devices(self) -> list[str]:
        """UUIDs of the devices that are online."""
        return await self._registry.online("device")

    async def busy_users(self) -> dict[str, str]:
        """UUIDs of the users in a session, each with that of the session."""
        return await self._registry.busy("user")

    async def busy_participants(self) -> dict[str, str]:
        """UUIDs of the participants in a session, each with that of the session."""
        return await self._registry.busy("participant")

    async def busy_devices(self) -> dict[str, str]:
        """UUIDs of the devices in a session, each with that of the session."""
        return await self._registry.busy("device")

    async def status_users(self) -> dict[str, dict[str, Any]]:
        """Whether they are online, and busy, of the users who are one of both."""
        return await self._registry.status("user")

    async def status_participants(self) -> dict[str, dict[str, Any]]:
        """Whether they are online, and busy, of the participants who are one of both."""
        return await self._registry.status("participant")

    async def status_devices(self) -> dict[str, dict[str, Any]]:
        """Of the devices that are online or busy: whether they are, and what they told last."""
        devices = await self._registry.status("device")
        told = await self._registry.device_statuses()
        return {uuid: {**one, "status": told.get(uuid)} for uuid, one in devices.items()}

    async def update_device_status(
        self, uuid: str, status: str, timestamp: float
    ) -> dict[str, str | float] | None:
        """Store what an online device tells of itself; null when it is not online."""
        if not math.isfinite(timestamp):
            raise ProcedureError("the timestamp is not a finite number")
        if not await self._registry.set_device_status(uuid, status, timestamp):
            return None
        return {"uuid": uuid, "status": status, "timestamp": timestamp}


def procedures(registry: Registry) -> Procedures:
    """The module's procedures, which tell that they are ours when they are asked."""
    doc = "Who is online, and who is busy in a session."
    return Procedures.of(Module(registry), f"{_OURS}{version('opentera-twisted')}", doc)


def is_ours(ping: Any) -> bool:
    """Whether that is how a server of these procedures answers ``opentera.ping``."""
    return isinstance(ping, dict) and str(ping.get("version", "")).startswith(_OURS)
