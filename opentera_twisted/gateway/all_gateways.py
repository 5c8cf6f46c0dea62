"""The gateways of a bus and their clients, requested from each gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.errors import CommandFailed
from opentera_twisted.gateway.listing import MOST
from opentera_twisted.holders import GATEWAYS
from opentera_twisted.link import PRESENCE
from opentera_twisted.rpc import ArgumentValue

TIMEOUT: Final = 2.0
"""Seconds to wait for the gateways."""

_SERVER: Final = f"service.{topics.GATEWAY_SERVICE}"


async def gateways(bus: Bus) -> list[dict[str, Any]]:
    """List the gateways, in the order of their names and processes.

    A gateway with a lease in Redis that does not answer has only its ``gateway``, and the ``link``
    ``no answer``. Gateways of existing OpenTera programs are not listed.
    """
    found = await _ask(bus, "summary")
    answered = {gateway["gateway"] for gateway in found}
    found.sort(key=lambda gateway: (str(gateway.get("name")), str(gateway.get("process"))))
    silent = [name for name in await _leased(bus) if name not in answered]
    return [*found, *({"gateway": name, "link": "no answer"} for name in silent)]


async def clients(bus: Bus, search: str = "", most: int = MOST) -> dict[str, Any]:
    """List the open websockets at all gateways that match, the latest first.

    Args:
        bus: bus of the gateways.
        search: part of a kind, UUID, name or address.
        most: websockets in the list, at most.

    Returns:
        The number in ``total``, the number ``matching``, the ``clients``, and the number of
        ``gateways`` that answered.
    """
    answers = await _ask(bus, "clients", search, most)
    rows = [
        {**row, "gateway": answer["gateway"]}
        for answer in answers
        for row in answer.get("clients", ())
        if isinstance(row, dict) and isinstance(row.get("since"), (int, float))
    ]
    rows.sort(key=lambda row: row["since"], reverse=True)
    return {
        "total": sum(answer.get("total", 0) for answer in answers),
        "matching": sum(answer.get("matching", 0) for answer in answers),
        "clients": rows[:most],
        "gateways": len(answers),
    }


async def _ask(bus: Bus, procedure: str, *arguments: ArgumentValue) -> list[dict[str, Any]]:
    answers = await bus.call_all(_SERVER, procedure, *arguments, timeout=TIMEOUT)
    values = [answer.value for answer in answers]
    return [value for value in values if isinstance(value, dict) and "gateway" in value]


async def _leased(bus: Bus) -> Sequence[str]:
    try:
        names: list[bytes] = await bus.link.execute(
            "ZRANGE", bus.link.key(PRESENCE, GATEWAYS), 0, -1
        )
    except CommandFailed:  # a user without this right
        return ()
    return [topics.decode(name) for name in names]
