"""Parsing of handshake requests, and their refusals.

Autobahn's HTTP parser accepts more than HTTP/1.1 allows, so the head is checked before.

Source: docs/reference/wire.md; RFC 9112, sections 3 and 5; RFC 6455, sections 4.2.1 and 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

from opentera_twisted.errors import BusError, PortableError
from opentera_twisted.gateway.trusted_proxies import Peer
from opentera_twisted.topics import KINDS, Kind

_USUAL: Final = re.compile(
    r"(/wss/\w+)\?(?:id=([\w.-]*)|recover=([\w-]*)&received=([0-9]{1,15}))", re.ASCII
)
"""The usual targets of requests, without any quoting."""

VERSION: Final = "13"
"""Version of the websocket protocol, exactly as a handshake must send it."""

HEAD_END: Final = b"\r\n\r\n"

_HEAD = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/[0-9]\.[0-9]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n"
)

_OFFERS = re.compile(rb"\r\nsec-websocket-extensions:([^\r]*)", re.IGNORECASE)

_HOST = re.compile(r"[^:]*|.*(?:\]|:[0-9]+)")

_NO_LINE_ENDS = bytes.maketrans(b"\x85", b"?")
"""Replacement of byte 0x85, which Autobahn's parser takes for the end of a line."""

_COUNT: Final = re.compile(r"[0-9]{1,15}", re.ASCII)

_PATHS: Final[Mapping[str, Kind]] = {f"/wss/{kind}": kind for kind in KINDS}


class Refusal(PortableError):
    """The gateway refuses a handshake.

    Attributes:
        status: HTTP status, the only information for the client besides ``retry_after``.
        cause: text for the log, without anything that the client sent.
        counted: cause without variable parts, by which the refusal is counted and shown.
        limit: name of the limit that was reached, or None.
        retry_after: seconds after which the client may retry, or None.
    """

    def __init__(
        self,
        status: HTTPStatus,
        cause: str,
        *,
        counted: str = "",
        limit: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.counted = counted or cause
        self.limit = limit
        self.retry_after = retry_after

    @classmethod
    def for_now(cls, cause: str, *, counted: str = "", limit: str | None = None) -> Refusal:
        """Make a temporary refusal, which decides nothing about the client."""
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return cls(status, cause, counted=counted, limit=limit, retry_after=5)

    @classmethod
    def for_error(cls, error: BusError) -> Refusal:
        """Make a temporary refusal because of an error of the bus, counted by its class."""
        counted = f"an operation of the bus failed: {type(error).__name__}"
        return cls.for_now(str(error), counted=counted)

    @property
    def is_for_now(self) -> bool:
        """Return True for a temporary refusal: the client may retry with the same key."""
        return self.status is HTTPStatus.SERVICE_UNAVAILABLE


@frozen
class Login:
    """A request to log in.

    Attributes:
        kind: kind of the client.
        key: session key or recovery token as sent by the client; any text.
        peer: address of the client.
        origin: origin of the web page, or empty.
        received: event frames counted by a client that recovers, whose key is a recovery token;
            None for a login.
    """

    kind: Kind
    key: str = field(repr=False)
    peer: Peer
    origin: str = ""
    received: int | None = None


def parse_login(target: str, peer: Peer, origin: str = "") -> Login:
    """Parse the target of a handshake's request.

    Args:
        target: target such as ``/wss/user?id=...`` or ``/wss/user?recover=...&received=58``.
        peer: address of the client.
        origin: header ``Origin``, or empty.

    Raises:
        Refusal: the path is unknown, there is not exactly one ``id`` or ``recover``, or
            ``received`` is not a count.
    """
    usual = _USUAL.fullmatch(target)
    path, query = (usual[1], "") if usual else urlsplit(target)[2:4]
    kind = _PATHS.get(path)
    if kind is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "no such path")
    if usual:
        _, key, token, received = usual.groups()
        if key is not None:
            return Login(kind, key, peer, origin)
        return Login(kind, token, peer, origin, int(received))
    fields = _fields(query)
    keys, tokens = fields.get("id", []), fields.get("recover", [])
    if len(keys) + len(tokens) != 1:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"{len(keys)} session keys and {len(tokens)} tokens of recovery in the query",
            counted="not one session key or recovery token in the query",
        )
    if keys:
        return Login(kind, keys[0], peer, origin)
    return Login(kind, tokens[0], peer, origin, _count(fields.get("received", [])))


def _count(texts: Sequence[str]) -> int:
    """Parse the number of event frames that a client has received."""
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
    """Rewrite a head so that Autobahn can parse it; return None if it is malformed.

    Autobahn fails on extension offers in several header lines, so join them.

    Args:
        head: first bytes of the request, including the empty line.
    """
    if not _HEAD.fullmatch(head):
        return None
    offers = _OFFERS.findall(head)
    if len(offers) > 1:
        others = _OFFERS.sub(b"", head).removesuffix(HEAD_END)
        head = b"%b\r\nSec-WebSocket-Extensions:%b%b" % (others, b",".join(offers), HEAD_END)
    return head.translate(_NO_LINE_ENDS)


def header_mistake(headers: Mapping[str, str]) -> str | None:
    """Find a header with a number that only Python accepts: ``1_3``, ``+13`` or ``013``.

    Args:
        headers: headers accepted by Autobahn, with names in lower case.

    Returns:
        A description of the mistake, or None.
    """
    if headers["sec-websocket-version"] != VERSION:
        return "the version of the protocol is not written as 13"
    if not _HOST.fullmatch(headers["host"]):
        return "the port in the header Host is not a number"
    return None
