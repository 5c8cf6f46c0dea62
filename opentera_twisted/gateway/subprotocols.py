"""The subprotocol that a client offers, and the gateway selects.

The gateway sends one kind of frames, and no name for it is in use. A client that offers a name
wants to connect, and many clients (all browsers among them) fail when none is selected. So the
first name is selected, as the client's name for these frames.

Names under `RESERVED` promise more than these frames. The gateway selects one only when it keeps
the promise, and then before any other: `RECOVERY` while recovery is on. A client can offer it with
its own name as a fallback. It then connects to every gateway, and the selected name shows the
result.

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
"""The first frame tells a token, with which the client returns to the events that it missed."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def select(offered: Sequence[str], spoken: Collection[str] = ()) -> str | None:
    """Select one of a client's subprotocols, before its session key is redeemed.

    Args:
        offered: the names, in the client's order; empty ones are elements that a list may have.
        spoken: the reserved names that the gateway speaks now.

    Returns:
        The name, or None when the client offers none.

    Raises:
        Refusal: 400; a name is malformed, or all are reserved and the gateway speaks none of them.
    """
    names = [name for name in offered if name]
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
