"""The subprotocol that a client offers, and the gateway selects.

The gateway's frames have no registered name. Many clients, such as all browsers, fail if they offer
names and none is selected. The gateway therefore selects the first offered name.

Names under `RESERVED` mean additional frames. The gateway prefers such a name while it supports it:
`RECOVERY` while recovery is on. A client can offer its own name as a fallback. It then connects to
every gateway, and the selected name shows the result.

Source: RFC 6455, sections 4.1 and 4.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from opentera_twisted.gateway.login import Refusal

RESERVED: Final = "opentera-bus."
"""The beginning of names that this package defines."""

RECOVERY: Final = f"{RESERVED}recovery.v1"
"""Subprotocol of recovery: its first frame has a token, with which the client returns."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def select(offered: Sequence[str], spoken: Collection[str] = ()) -> str | None:
    """Select one of a client's subprotocols, before its session key is redeemed.

    Args:
        offered: the names, in the client's order; empty list elements are allowed.
        spoken: the reserved names that the gateway supports now.

    Returns:
        The name, or None when the client offers none.

    Raises:
        Refusal: 400; a name is malformed or repeated, or all are reserved and unsupported.
    """
    names = [name for name in offered if name]
    if len(set(names)) < len(names):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a subprotocol is offered twice")
    if not all(map(_TOKEN.fullmatch, names)):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a subprotocol's name is malformed")
    own = [name for name in names if name in spoken]
    known = own or [name for name in names if not name.startswith(RESERVED)]
    if names and not known:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"this gateway speaks no subprotocol {RESERVED}…; a client that offers one and also a "
            "name of its own is accepted with that",
        )
    return known[0] if known else None
