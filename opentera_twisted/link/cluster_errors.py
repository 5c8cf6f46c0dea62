"""The errors of a cluster's nodes that end elsewhere or later, and the reaction to each.

None of these errors means that Redis executed the command:

===========  =========================================================
MOVED        send it to the named node, which owns the slot from now on
ASK          send it to the named node once, after ASKING
TRYAGAIN     send it again later: some keys of a script have moved
CLUSTERDOWN  send it again later: no node serves the slot
===========  =========================================================

Source: Redis documentation, "Redis cluster specification", redirection and resharding.
"""

from __future__ import annotations

from typing import Final, Literal

from attrs import frozen

from opentera_twisted.errors import CommandFailed
from opentera_twisted.link.slots import SLOTS
from opentera_twisted.link.topology import Address, read_host

REDIRECTIONS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})
"""Codes of the errors that end when the command reaches the right node."""


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


def redirection(error: CommandFailed, node_host: str) -> Redirection | None:
    """Decide where to send a refused command again.

    Args:
        error: error of the node.
        node_host: host of that node; MOVED and ASK leave it out if it is the same.

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
        address = (read_host(host.encode(), node_host), int(port))
        number = int(slot)
    except ValueError:
        return _LATER
    if not 0 <= number < SLOTS or not 0 < address[1] < 65_536:
        return _LATER
    return Redirection("moved" if error.code == "MOVED" else "ask", number, address)
