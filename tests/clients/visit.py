"""A visit of a client: its orders and its observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen, mutable


@frozen(kw_only=True)
class Visit:
    """Orders of a client: open, ping if it can, take messages, close.

    Attributes:
        url: URL with the session key.
        authority: File of the certificate to trust.
        protocols: Subprotocols to offer.
        offer: Name of the compression offer, one of `Client.offers`.
        want: Messages after which it closes; 0 waits for the gateway's close.
    """

    url: str
    authority: str
    protocols: list[str] = field(factory=list)
    offer: str = "usual"
    want: int = 1


@mutable
class Seen:
    """Observations of a client.

    Attributes:
        opened: True if the handshake succeeded.
        protocol: Selected subprotocol, or an empty string.
        compressed: True if compression was negotiated.
        ponged: True if its ping was answered; None if it cannot know.
        messages: Received texts.
        code: Code of the gateway's close frame.
        reason: Reason of the close, or of the failed handshake.
    """

    opened: bool = False
    protocol: str = ""
    compressed: bool = False
    ponged: bool | None = None
    messages: list[str] = field(factory=list)
    code: int | None = None
    reason: str = ""


@frozen
class Client:
    """A client library or program.

    Attributes:
        name: Name of the library or program.
        make: Runs a visit.
        offers: By name of each compression offer: True if the gateway accepts it. ``usual`` is
            the default.
    """

    name: str
    make: Callable[[Visit], Seen]
    offers: Mapping[str, bool]

    def __str__(self) -> str:
        return self.name
