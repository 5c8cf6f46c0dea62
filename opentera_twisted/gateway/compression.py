"""permessage-deflate with a bounded window, agreed on so that one compressed frame serves all.

Source: RFC 7692, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

MIN_WINDOW_BITS = 9
MAX_WINDOW_BITS = 15


def accept(
    offers: Iterable[object], window_bits: int, max_message_size: int
) -> PerMessageDeflateOfferAccept | None:
    """The first of a client's offers that suits, or None: then nothing is compressed.

    Neither side keeps a window from message to message: it would be memory for each client, and
    the same event would be other bytes for each.

    Args:
        offers: as Autobahn has read them.
        window_bits: logarithm of the window's size, for both sides.
        max_message_size: bytes of a client's message, when it is decompressed; 0: any.
    """
    for offer in offers:
        if not isinstance(offer, PerMessageDeflateOffer):
            continue
        # A client that wants a smaller window than ours of us gets no compression.
        if offer.request_max_window_bits and offer.request_max_window_bits < window_bits:
            continue
        return PerMessageDeflateOfferAccept(
            offer,
            request_no_context_takeover=offer.accept_no_context_takeover,
            request_max_window_bits=window_bits if offer.accept_max_window_bits else 0,
            no_context_takeover=True,
            window_bits=window_bits,
            max_message_size=max_message_size or None,
        )
    return None
