"""The gateways of a bus and their clients, requested from each gateway.

Another program may serve the gateways' name, so answers of another form are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.errors import CommandFailed
from opentera_twisted.gateway.listing import MOST
from opentera_twisted.holders import GATEWAYS
from opentera_twisted.link import PRESENCE
from opentera_twisted.messages.decoding import strict
from opentera_twisted.rpc import ArgumentValue

TIMEOUT: Final = 2.0
"""Seconds to wait for the gateways."""

_SERVER: Final = f"service.{topics.GATEWAY_SERVICE}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1e15  # not NaN


def _is_time(value: Any) -> bool:
    """Return True for seconds since the epoch that a browser can show as a date."""
    return _is_number(value) and value < 1e12


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_Form = Mapping[str, Callable[[Any], bool]]
"""A check of each required field of an object."""

_SUMMARY: Final[_Form] = {
    **dict.fromkeys(("gateway", "name", "host", "version", "link"), _is_text),
    **dict.fromkeys(("process", "gaps", "queued", "delivered"), _is_number),
    **dict.fromkeys(("clients", "logins"), _are_counts),
    "started": _is_time,
}

_CLIENTS: Final[_Form] = {
    "gateway": _is_text,
    **dict.fromkeys(("total", "matching"), _is_number),
    "clients": _are_objects,
}

_CLIENT: Final[_Form] = {
    **dict.fromkeys(("kind", "uuid", "name", "address"), _is_text),
    "since": _is_time,
    "queued": _is_number,
}


async def gateways(bus: Bus) -> list[dict[str, Any]]:
    """List the gateways, in the order of their names and processes.

    A gateway with a lease in Redis that does not answer has only its ``gateway``, and the ``link``
    ``no answer``. Gateways of existing OpenTera programs are not listed.
    """
    found = await _ask(bus, _SUMMARY, "summary")
    answered = {gateway["gateway"] for gateway in found}
    found.sort(key=lambda gateway: (gateway["name"], str(gateway["process"])))
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
    answers = await _ask(bus, _CLIENTS, "clients", search, most)
    rows = [
        {**row, "gateway": answer["gateway"]}
        for answer in answers
        for row in answer["clients"]
        if _has_form(row, _CLIENT)
    ]
    rows.sort(key=lambda row: row["since"], reverse=True)
    return {
        "total": sum(answer["total"] for answer in answers),
        "matching": sum(answer["matching"] for answer in answers),
        "clients": rows[:most],
        "gateways": len(answers),
    }


async def _ask(
    bus: Bus, form: _Form, procedure: str, *arguments: ArgumentValue
) -> list[dict[str, Any]]:
    answers = await bus.call_all(_SERVER, procedure, *arguments, timeout=TIMEOUT)
    found = []
    for answer in answers:
        try:
            value = strict(answer.value)
        except ValueError:  # nested too deeply
            continue
        if _has_form(value, form):
            found.append(value)
    return found


def _has_form(value: Any, form: _Form) -> bool:
    return isinstance(value, dict) and all(fits(value.get(name)) for name, fits in form.items())


async def _leased(bus: Bus) -> Sequence[str]:
    try:
        names: list[bytes] = await bus.link.execute(
            "ZRANGE", bus.link.key(PRESENCE, GATEWAYS), 0, -1
        )
    except CommandFailed:  # a user without this right
        return ()
    return [topics.decode(name) for name in names]
