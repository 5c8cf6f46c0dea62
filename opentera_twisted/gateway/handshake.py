"""The opening handshake: parsing of the request's head, and the response.

Source: RFC 9112, sections 3 and 5; RFC 6455, sections 4.2 and 9.1.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha1
from http import HTTPStatus
from typing import Final

from attrs import field, frozen

from opentera_twisted.gateway.login import Refusal

HEAD_END: Final = b"\r\n\r\n"

VERSION: Final = "13"
"""Version of the websocket protocol, exactly as a handshake must send it."""

_HEAD: Final = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n"
    r"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_HOST: Final = re.compile(
    r"(?:\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+;=-]*)(?::[0-9]*)?", re.IGNORECASE
)
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_ORIGIN: Final = re.compile(r"null|file://|[a-z][a-z0-9+.-]*://[^\s/].*", re.IGNORECASE)
_SPACE: Final = " \t"

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Text that a response hashes with the request's key."""


@frozen
class Request:
    """A request to open a websocket.

    Attributes:
        target: target of the request; it may hold a session key.
        headers: values by name in lower case; values of a repeated header are joined with commas.
    """

    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def origin(self) -> str:
        """Origin of the web page, or empty."""
        return self.headers.get("origin", "")

    @property
    def extensions(self) -> str:
        """Offered extensions, or empty."""
        return self.headers.get("sec-websocket-extensions", "")

    @property
    def subprotocols(self) -> Sequence[str]:
        """Offered subprotocols; names may be empty."""
        offered = self.headers.get("sec-websocket-protocol")
        return () if offered is None else _listed(offered)


def parse_request(head: bytes) -> Request:
    """Parse and check the head of a request.

    Args:
        head: first bytes of the connection, including the empty line.

    Raises:
        Refusal: the request is malformed, or does not open a websocket.
    """
    parts = _HEAD.fullmatch(head.decode("latin-1"))
    if parts is None:
        raise _malformed("the head of the request is malformed")
    method, target, version, lines = parts.groups()
    if method != "GET":
        raise _no_websocket(HTTPStatus.METHOD_NOT_ALLOWED)
    if version != "1.1":
        raise _no_websocket(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    headers: dict[str, str] = {}
    repeated = set()
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(_SPACE)
        if name in headers:
            repeated.add(name)
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if "upgrade" not in headers:
        raise _no_websocket(HTTPStatus.UPGRADE_REQUIRED)
    mistake = next(_mistakes(target, headers, repeated), None)
    if mistake is not None:
        raise _malformed(mistake)
    return Request(target, headers)


def _mistakes(target: str, headers: Mapping[str, str], repeated: Collection[str]) -> Iterator[str]:
    """Find mistakes in a request to open a websocket, without the client's text."""
    if "#" in target:
        yield "the target has a fragment"
    if "host" in repeated or not _HOST.fullmatch(headers.get("host", "/")):
        yield "the header Host is missing, repeated, or not a host with an optional port"
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        yield "the request has a body"
    if not _names(headers["upgrade"], "websocket"):
        yield "the header Upgrade does not name websocket"
    if not _names(headers.get("connection", ""), "upgrade"):
        yield "the header Connection does not name Upgrade"
    if headers.get("sec-websocket-version") != VERSION:
        yield f"the header Sec-WebSocket-Version is not {VERSION}"
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "")):
        yield "the header Sec-WebSocket-Key is not the base64 of 16 bytes"
    if "origin" in repeated or not _ORIGIN.fullmatch(headers.get("origin", "null")):
        yield "the header Origin is repeated or malformed"


def response(request: Request, subprotocol: str | None, extension: str | None) -> bytes:
    """Write the response that opens the websocket, with the selected subprotocol and extension."""
    key = request.headers["sec-websocket-key"].encode()
    accept = b64encode(sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()).decode()
    head = (
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: WebSocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n"
    )
    if subprotocol is not None:
        head += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    if extension is not None:
        head += f"Sec-WebSocket-Extensions: {extension}\r\n"
    return head.encode() + b"\r\n"


def _listed(value: str) -> list[str]:
    return [element.strip(_SPACE) for element in value.split(",")]


def _names(value: str, wanted: str) -> bool:
    """Return True if a list names a token, in any case."""
    value = value.lower()
    return value == wanted or wanted in _listed(value)


def _malformed(cause: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, cause)


def _no_websocket(status: HTTPStatus) -> Refusal:
    return Refusal(status, "the request does not open a websocket")
