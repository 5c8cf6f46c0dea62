"""The owners of a cluster's slots; nothing here touches a connection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from opentera_twisted.link.slots import SLOTS, key_slot, slot_tags

Address = tuple[str, int]
"""Name or IP address of a node, and its port."""

_QUICK_MARKERS: Final = [b"opentera.slot.node{%d}" % number for number in range(100)]


class Topology:
    """The primary that owns each slot; slots may have none.

    Args:
        owners: owner of each slot, in the order of the slots.

    Attributes:
        owners: the same, changed by `move`.
    """

    def __init__(self, owners: Sequence[Address | None] = (None,) * SLOTS) -> None:
        self.owners = list(owners)

    def __eq__(self, other: object) -> bool:
        """Compare the owners of all slots."""
        return isinstance(other, Topology) and self.owners == other.owners

    __hash__ = None  # type: ignore[assignment]  # `move` changes it

    @property
    def primaries(self) -> list[Address]:
        """Nodes that own a slot, in the order of their first slots."""
        return [address for address in dict.fromkeys(self.owners) if address is not None]

    @property
    def counts(self) -> dict[Address, int]:
        """Number of slots of each primary."""
        counted = Counter(self.owners)
        return {address: slots for address, slots in counted.items() if address is not None}

    @property
    def is_complete(self) -> bool:
        """True if each slot has an owner."""
        return None not in self.owners

    def markers(self, known: Iterable[bytes]) -> set[bytes]:
        """Choose a topic in a slot of each primary.

        Args:
            known: topics to prefer; each was chosen before.
        """
        chosen: dict[Address, bytes] = {}
        primaries = self.primaries
        for topic in chain(sorted(known), _QUICK_MARKERS):
            owner = self.owners[key_slot(topic)]
            if owner is not None:
                chosen.setdefault(owner, topic)
                if len(chosen) == len(primaries):
                    break
        for owner in primaries:
            if owner not in chosen:  # it has few slots
                chosen[owner] = b"opentera.slot.node{%s}" % slot_tags()[self.owners.index(owner)]
        return set(chosen.values())

    def move(self, slot: int, address: Address) -> None:
        """Record the new owner of a slot, as MOVED reports it."""
        self.owners[slot] = address


def parse_slots(reply: Any, node_host: str) -> Topology:
    """Read the reply of ``CLUSTER SLOTS``.

    Args:
        reply: ranges of slots, each with its primary first.
        node_host: host of the node that answered, which may not know its own.

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
            address = (read_host(host, node_host), port)
            owners[first : last + 1] = [address] * (last + 1 - first)
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a reply of CLUSTER SLOTS: {error}") from None
    return Topology(owners)


def is_down(reply: Any) -> bool:
    """Return True if a reply of ``CLUSTER INFO`` says that the node refuses commands.

    A slot has no primary, or the node does not reach most of the primaries.
    """
    return isinstance(reply, bytes) and b"cluster_state:fail" in reply


_EPOCHS: Final = re.compile(rb"cluster_(?:current|my)_epoch:\d+")


def epochs(reply: Any) -> tuple[bytes, ...]:
    """Return what changes in a reply of ``CLUSTER INFO`` when a replica takes over."""
    return tuple(_EPOCHS.findall(reply)) if isinstance(reply, bytes) else ()


def read_host(host: bytes | None, node_host: str) -> str:
    """Read a host; a node without an announced or known one leaves it empty, or writes ``?``."""
    return node_host if host is None or host in {b"", b"?"} else host.decode()
