"""Identities that are online, and the programs that know it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.program import say
from opentera_twisted.errors import BusError, NoResponder
from opentera_twisted.topics import Kind

GATEWAYS: Final = "gateways"
REGISTRY: Final = "registry"

_TIMEOUT: Final = 5.0
"""Seconds that the registry may take to answer."""

Known = dict[Kind, dict[str, list[str]]]
"""By kind and UUID: the sources that know of a websocket."""


async def known_online(bus: Bus, kinds: Iterable[Kind]) -> Known:
    """Ask our gateways, and the registry of the user manager module if one answers."""
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
        say(f"the registry of the user manager was not asked for {kind}s: {error}")
        return []
    return [one for one in answer if isinstance(one, str)] if isinstance(answer, list) else []
