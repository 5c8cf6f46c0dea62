"""Online identities and their sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.values import say
from opentera_twisted.errors import BusError, NoResponder
from opentera_twisted.topics import Kind

GATEWAYS: Final = "gateways"
REGISTRY: Final = "registry"

_TIMEOUT: Final = 5.0
"""Seconds to wait for the registry's reply."""

Known = dict[Kind, dict[str, list[str]]]
"""Sources by kind and UUID."""


async def known_online(bus: Bus, kinds: Iterable[Kind]) -> Known:
    """Collect identities from the gateways, and from the registry if one answers."""
    everyone = await bus.presence.everyone()
    known: Known = {kind: {uuid: [GATEWAYS] for uuid in everyone[kind]} for kind in kinds}
    for kind in known:
        for uuid in await _registered(bus, kind):
            known[kind].setdefault(uuid, []).append(REGISTRY)
    return {kind: dict(sorted(uuids.items())) for kind, uuids in known.items()}


async def _registered(bus: Bus, kind: Kind) -> list[str]:
    try:
        answer = await bus.call(topics.USER_MANAGER_MODULE, f"online_{kind}s", timeout=_TIMEOUT)
    except NoResponder:
        return []
    except BusError as error:
        say(f"cannot read {kind}s from the user manager's registry: {error}")
        return []
    return [uuid for uuid in answer if isinstance(uuid, str)] if isinstance(answer, list) else []
