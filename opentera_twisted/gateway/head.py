"""The head of a handshake's request, as HTTP/1.1 writes it; Autobahn's reader takes much more.

Source: RFC 9112, sections 3 and 5; RFC 6455, sections 4.2.1 and 9.1: what is not written so is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

VERSION: Final = "13"
"""The version of the protocol, as a handshake has to write it."""

END: Final = b"\r\n\r\n"

_HEAD = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/[0-9]\.[0-9]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n"
)

_OFFERS = re.compile(rb"\r\nsec-websocket-extensions:([^\r]*)", re.IGNORECASE)

_HOST = re.compile(r"[^:]*|.*(?:\]|:[0-9]+)")

_NO_LINE_ENDS = bytes.maketrans(b"\x85", b"?")
"""Text beyond ASCII has no meaning here, but the reader takes this byte for the end of a line."""


def checked(head: bytes) -> bytes | None:
    """Rewrite a head as Autobahn can read it; None when it is not well-formed.

    Autobahn fails at offers of extensions on several lines, which mean the same as one line.

    Args:
        head: the request's first bytes, up to and with the empty line.
    """
    if not _HEAD.fullmatch(head):
        return None
    offers = _OFFERS.findall(head)
    if len(offers) > 1:
        others = _OFFERS.sub(b"", head).removesuffix(END)
        head = b"%b\r\nSec-WebSocket-Extensions:%b%b" % (others, b",".join(offers), END)
    return head.translate(_NO_LINE_ENDS)


def mistake(headers: Mapping[str, str]) -> str | None:
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
