"""The request of a handshake, and the ways in which it is refused.

Autobahn's reader of HTTP takes much more than HTTP/1.1 writes, so a head is checked before.

Source: docs/reference/wire.md; RFC 9112, sections 3 and 5; RFC 6455, sections 4.2.1 and 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

from opentera_twisted.errors import PortableError
from opentera_twisted.gateway.proxies import Peer
from opentera_twisted.topics import KINDS, Kind

_USUAL: Final = re.compile(r"(/wss/\w+)\?(id=[\w.-]*)", re.ASCII)
"""The target of nearly every request: nothing in it is quoted."""

VERSION: Final = "13"
"""The version of the protocol, as a handshake has to write it."""

HEAD_END: Final = b"\r\n\r\n"

_HEAD = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/[0-9]\.[0-9]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n"
)

_OFFERS = re.compile(rb"\r\nsec-websocket-extensions:([^\r]*)", re.IGNORECASE)

_HOST = re.compile(r"[^:]*|.*(?:\]|:[0-9]+)")

_NO_LINE_ENDS = bytes.maketrans(b"\x85", b"?")
"""Text beyond ASCII has no meaning here, but the reader takes this byte for the end of a line."""

_COUNT: Final = re.compile(r"[0-9]{1,15}", re.ASCII)

_PATHS: Final[Mapping[str, Kind]] = {f"/wss/{kind}": kind for kind in KINDS}


class Refusal(PortableError):
    """A handshake is refused.

    Attributes:
        status: what the client is told, and nothing else.
        cause: what the log is told; it holds nothing that the client sent.
        limit: name of the limit that was reached, or None.
        retry_after: seconds until it may be worth trying again, which the client is told.
    """

    def __init__(
        self,
        status: HTTPStatus,
        cause: str,
        *,
        limit: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.limit = limit
        self.retry_after = retry_after

    @classmethod
    def for_now(cls, cause: str, *, limit: str | None = None) -> Refusal:
        """One that decides nothing about the client."""
        return cls(HTTPStatus.SERVICE_UNAVAILABLE, cause, limit=limit, retry_after=5)

    @property
    def is_for_now(self) -> bool:
        """Whether nothing was decided about the client: it may come in with the same key later."""
        return self.status is HTTPStatus.SERVICE_UNAVAILABLE


@frozen
class Login:
    """A request to log in.

    Attributes:
        kind: of the websocket.
        key: as the client gave it: any text.
        peer: where it comes from.
        origin: of the page that asks; empty when it is no page.
        received: event frames that a client counted which returns; its key is a token of recovery.
            None: it logs in.
    """

    kind: Kind
    key: str = field(repr=False)
    peer: Peer
    origin: str = ""
    received: int | None = None


def parse_login(target: str, peer: Peer, origin: str = "") -> Login:
    """Read the target of a handshake's request.

    Args:
        target: such as ``/wss/user?id=...`` or ``/wss/user?recover=...&received=58``.
        peer: where the request comes from.
        origin: its header; empty when there was none.

    Raises:
        Refusal: the path is none of ours, there is not exactly one ``id`` or ``recover``, or what
            was received is no count.
    """
    usual = _USUAL.fullmatch(target)
    path, query = usual.groups() if usual else urlsplit(target)[2:4]
    kind = _PATHS.get(path)
    if kind is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "no such path")
    if usual:
        return Login(kind, query.removeprefix("id="), peer, origin)
    fields = _fields(query)
    keys, tokens = fields.get("id", []), fields.get("recover", [])
    if len(keys) + len(tokens) != 1:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"{len(keys)} session keys and {len(tokens)} tokens of recovery in the query",
        )
    if keys:
        return Login(kind, keys[0], peer, origin)
    return Login(kind, tokens[0], peer, origin, _count(fields.get("received", [])))


def _count(texts: Sequence[str]) -> int:
    """Read how many event frames a client has received."""
    if len(texts) != 1 or not _COUNT.fullmatch(texts[0]):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "received is not one count of event frames, from 0 to 999999999999999",
        )
    return int(texts[0])


def _fields(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refusal(HTTPStatus.FORBIDDEN, "more than 100 fields in the query") from None


def checked_head(head: bytes) -> bytes | None:
    """Rewrite a head as Autobahn can read it; None when it is not well-formed.

    Autobahn fails at offers of extensions on several lines, which mean the same as one line.

    Args:
        head: the request's first bytes, up to and with the empty line.
    """
    if not _HEAD.fullmatch(head):
        return None
    offers = _OFFERS.findall(head)
    if len(offers) > 1:
        others = _OFFERS.sub(b"", head).removesuffix(HEAD_END)
        head = b"%b\r\nSec-WebSocket-Extensions:%b%b" % (others, b",".join(offers), HEAD_END)
    return head.translate(_NO_LINE_ENDS)


def header_mistake(headers: Mapping[str, str]) -> str | None:
    """Find a header whose number only Python reads as one: ``1_3``, ``+13`` or ``013``.

    Args:
        headers: as Autobahn has read and accepted them, by their names in lower case.

    Returns:
        What is wrong, or None.
    """
    if headers["sec-websocket-version"] != VERSION:
        return "the version of the protocol is not written as 13"
    if not _HOST.fullmatch(headers["host"]):
        return "the port in the header Host is not a number"
    return None
