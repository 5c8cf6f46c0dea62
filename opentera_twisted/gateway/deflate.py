"""permessage-deflate with a bounded window, negotiated so that clients share compressed frames.

Source: RFC 7692, section 7; RFC 6455, section 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

from opentera_twisted.errors import InvalidArgument

MIN_WINDOW_BITS: Final = 9
"""Least logarithm of a window: zlib cannot make one of 8."""

MAX_WINDOW_BITS: Final = 15

NAME: Final = "permessage-deflate"

_Parameters = Mapping[str, str | None]

_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SPACE: Final = r"[ \t]*"
_PARAMETER: Final = re.compile(
    rf"{_SPACE};{_SPACE}(?P<name>{_NAME})"
    rf"(?:{_SPACE}={_SPACE}(?:(?P<token>{_NAME})|\"(?P<quoted>{_NAME})\"))?"
)
_EXTENSION: Final = re.compile(rf"{_SPACE}(?P<name>{_NAME})")
_END: Final = re.compile(rf"{_SPACE}(?:,|\Z)")
_BITS: Final = re.compile(r"[89]|1[0-5]")


@lru_cache(maxsize=64)  # browsers of one kind all offer the same
def agree(
    offers: str, window_bits: int, max_message_size: int
) -> PerMessageDeflateOfferAccept | None:
    """Accept the first usable offer of a client; return None for no compression.

    Neither side keeps its window between messages, which saves memory for each client. An event
    has the same bytes for all clients. The answer never exceeds the offer.

    Args:
        offers: header ``Sec-WebSocket-Extensions``.
        window_bits: binary logarithm of the window's size, for both sides; 0 accepts no offer.
        max_message_size: bytes of a client's decompressed message; 0 for no limit.

    Raises:
        InvalidArgument: the header is malformed.
    """
    offered = [parameters for name, parameters in _parsed(offers) if name == NAME]
    if not window_bits:
        return None
    usable = next(filter(None, (_usable(offer, window_bits) for offer in offered)), None)
    if usable is None:
        return None
    accepted, client_bits = usable
    return PerMessageDeflateOfferAccept(
        accepted,
        request_no_context_takeover=True,
        request_max_window_bits=client_bits,
        no_context_takeover=True,
        window_bits=window_bits,
        max_message_size=max_message_size or None,
    )


def _usable(
    parameters: _Parameters | None, window_bits: int
) -> tuple[PerMessageDeflateOffer, int] | None:
    """Parse an offer for Autobahn, with the window to request of the client (0 for no limit)."""
    if parameters is None or not all(
        name in _VALID and _VALID[name](value) for name, value in parameters.items()
    ):
        return None
    server = int(parameters.get("server_max_window_bits") or MAX_WINDOW_BITS)
    limits_client = "client_max_window_bits" in parameters
    client = int(parameters.get("client_max_window_bits") or MAX_WINDOW_BITS)
    if server < window_bits or client < MIN_WINDOW_BITS:
        return None
    offer = PerMessageDeflateOffer(
        accept_max_window_bits=limits_client,
        request_no_context_takeover="server_no_context_takeover" in parameters,
        request_max_window_bits=server if "server_max_window_bits" in parameters else 0,
    )
    return offer, min(client, window_bits) if limits_client else 0


def _is_absent(value: str | None) -> bool:
    return value is None


def _is_window(value: str | None) -> bool:
    return value is not None and _BITS.fullmatch(value) is not None


_VALID: Final[Mapping[str, Callable[[str | None], bool]]] = {
    "client_no_context_takeover": _is_absent,
    "server_no_context_takeover": _is_absent,
    "client_max_window_bits": lambda value: value is None or _is_window(value),
    "server_max_window_bits": _is_window,
}
"""Checks of the values of an offer's parameters, as the RFC defines them."""


def _parsed(header: str) -> Iterator[tuple[str, _Parameters | None]]:
    """Yield each offered extension with its parameters, or None if a parameter is repeated."""
    position = 0
    while position < len(header):
        end = _END.match(header, position)
        if end is not None:  # an empty element of the list
            position = end.end()
            continue
        extension = _EXTENSION.match(header, position)
        if extension is None:
            raise _malformed()
        position = extension.end()
        parameters: dict[str, str | None] = {}
        is_repeated = False
        while (found := _PARAMETER.match(header, position)) is not None:
            position = found.end()
            name = found["name"].lower()
            is_repeated |= name in parameters
            parameters[name] = found["token"] or found["quoted"]
        end = _END.match(header, position)
        if end is None:
            raise _malformed()
        position = end.end()
        yield extension["name"].lower(), None if is_repeated else parameters


def _malformed() -> InvalidArgument:
    return InvalidArgument("the header Sec-WebSocket-Extensions is malformed")
