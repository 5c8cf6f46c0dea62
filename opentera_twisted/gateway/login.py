"""Parsing of a login from the target of a handshake, and refusals of handshakes.

Source: docs/reference/wire.md.
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
        Refusal: the target is malformed, the path is unknown, there is not exactly one ``id`` or
            ``recover``, or ``received`` is not a count.
    """
    usual = _USUAL.fullmatch(target)
    path, query = (usual[1], "") if usual else _split(target)
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


def _split(target: str) -> tuple[str, str]:
    """Return the path and the query of a target, which may be a whole URI."""
    try:
        _, _, path, query, _ = urlsplit(target)
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the target is malformed") from None
    return path, query


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
