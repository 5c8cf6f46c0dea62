"""The owners of a cluster's slots, and the reaction to each error that a redirection causes.

Nothing here touches a connection. None of these errors means that Redis executed the command:

===========  =========================================================
MOVED        send it to the named node, which owns the slot from now on
ASK          send it to the named node once, after ASKING
TRYAGAIN     send it again later: some keys of a script have moved
CLUSTERDOWN  send it again later: no node serves the slot
===========  =========================================================

Source: Redis documentation, "Redis cluster specification", redirection and resharding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from attrs import frozen

from opentera_twisted.errors import CommandFailed
from opentera_twisted.link.slots import SLOTS

Address = tuple[str, int]
"""Name or IP address of a node, and its port."""

REDIRECTIONS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})
"""Codes of the errors that end when the command reaches the right node."""


class Topology:
    """The primary that owns each slot; slots may have none.

    Args:
        owners: owner of each slot, in the order of the slots.
    """

    def __init__(self, owners: Sequence[Address | None] = (None,) * SLOTS) -> None:
        self._owners = list(owners)

    def __eq__(self, other: object) -> bool:
        """Compare the owners of all slots."""
        return isinstance(other, Topology) and self._owners == other._owners

    __hash__ = None  # type: ignore[assignment]  # `move` changes it

    @property
    def primaries(self) -> list[Address]:
        """Nodes that own a slot, in the order of their first slots."""
        return [address for address in dict.fromkeys(self._owners) if address is not None]

    @property
    def is_complete(self) -> bool:
        """True if each slot has an owner."""
        return None not in self._owners

    def owner(self, slot: int) -> Address | None:
        """Return the primary of a slot."""
        return self._owners[slot]

    def move(self, slot: int, address: Address) -> None:
        """Record the new owner of a slot, as MOVED reports it."""
        self._owners[slot] = address


def parse_slots(reply: Any, asked: str) -> Topology:
    """Read the reply of ``CLUSTER SLOTS``.

    Args:
        reply: ranges of slots, each with its primary first.
        asked: host of the node that answered, which may not know its own.

    Raises:
        ValueError: the reply has another form.
    """
    owners: list[Address | None] = [None] * SLOTS
    if not isinstance(reply, list):
        raise ValueError("not a reply of CLUSTER SLOTS: no list")  # noqa: TRY004
    try:
        for first, last, (host, port, *_), *_ in reply:
            if not 0 <= first <= last < SLOTS or not 0 < port < 65_536:
                raise ValueError(f"no range of slots at a node: {first}-{last}, port {port}")
            address = (_host(host, asked), port)
            owners[first : last + 1] = [address] * (last + 1 - first)
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a reply of CLUSTER SLOTS: {error}") from None
    return Topology(owners)


@frozen
class Redirection:
    """The reaction to an error of a node.

    Attributes:
        kind: ``moved``, ``ask``, or ``later`` for the same owner after a pause.
        slot: the slot that moved or moves; None with ``later``.
        address: the node to send the command to; None with ``later``.
    """

    kind: Literal["moved", "ask", "later"]
    slot: int | None = None
    address: Address | None = None


_LATER: Final = Redirection("later")


def redirection(error: CommandFailed, asked: str) -> Redirection | None:
    """Decide where to send a refused command again.

    Args:
        error: error of the node.
        asked: host of that node; MOVED and ASK leave it out if it is the same.

    Returns:
        None if no other node would accept the command.
    """
    if error.code not in REDIRECTIONS:
        return None
    if error.code not in {"MOVED", "ASK"}:
        return _LATER
    try:
        _, slot, where = error.reply.split(" ")
        host, _, port = where.rpartition(":")
        address = (_host(host.encode(), asked), int(port))
        number = int(slot)
    except ValueError:
        return _LATER
    if not 0 <= number < SLOTS or not 0 < address[1] < 65_536:
        return _LATER
    return Redirection("moved" if error.code == "MOVED" else "ask", number, address)


def _host(host: bytes | None, asked: str) -> str:
    """Read a host; a node without an announced or known one leaves it empty, or writes ``?``."""
    return asked if host is None or host in {b"", b"?"} else host.decode()
