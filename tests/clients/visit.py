"""A visit of a client: what it is to do, and what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen, mutable


@frozen(kw_only=True)
class Visit:
    """Orders of a client: open, ping if it can, take messages, close.

    Attributes:
        url: with the session key.
        authority: file of the certificate that it trusts.
        protocols: subprotocols to offer.
        offer: name of its offer of compression, one of those that the client can make.
        want: messages after which it closes; 0: it stays until it is closed.
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
        opened: whether the handshake succeeded.
        protocol: the selected subprotocol; empty: none.
        compressed: whether compression was agreed on.
        ponged: whether its own ping was answered; None: it cannot tell.
        messages: texts that came.
        code: of the gateway's close, or of the answer to its own.
        reason: of the close, or of a handshake that failed.
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
    """A client, by its name.

    Attributes:
        name: of the library or program.
        make: makes a visit.
        offers: its offers of compression: whether the gateway can accept them. ``usual`` is what it
            offers unless told otherwise.
    """

    name: str
    make: Callable[[Visit], Seen]
    offers: Mapping[str, bool]

    def __str__(self) -> str:
        return self.name
