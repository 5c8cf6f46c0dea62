"""A test case: a rule, the bytes to send, and the expected answers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .frames import close, frame

KEY = b"{key}"
"""Placeholder for a fresh session key."""

NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="

REFUSED = "Not allowed to send message"
"""Answer to each message that the gateway received completely."""

GOODBYE = close(1000)

_HEADERS = {
    "Host": b"127.0.0.1",
    "Upgrade": b"websocket",
    "Connection": b"Upgrade",
    "Sec-WebSocket-Key": NONCE,
    "Sec-WebSocket-Version": b"13",
}


@attrs.frozen(kw_only=True)
class Case:
    """A rule and its test.

    Attributes:
        rule: Name of the rule.
        section: Section of RFC 6455, or of the document named with it.
        frames: Bytes that the client sends once its websocket is open.
        answers: Expected answers: the status of the handshake, the requested headers, then
            texts, ``pong <hex>``, ``close <code>``, and ``end`` or ``reset``.
        request: Request of the handshake, where the handshake is under test.
        headers: Headers of the answer to compare.
        is_sent_away: The gateway closes first, before the client sends its frames.
        deviation: Reason why the gateway deviates from the RFC; the answers are the gateway's.
    """

    rule: str
    section: str
    frames: bytes = b""
    answers: tuple[str, ...]
    request: bytes = b""
    headers: tuple[str, ...] = ()
    is_sent_away: bool = False
    deviation: str = ""


def taken(rule: str, section: str, frames: bytes, *answers: str) -> Case:
    """Return a case of valid frames: the gateway answers them, then the client closes."""
    return Case(
        rule=rule,
        section=section,
        frames=frames + GOODBYE,
        answers=("101", *answers, "close 1000", "end"),
    )


def failed(rule: str, section: str, frames: bytes, code: int, *before: str) -> Case:
    """Return a case of invalid frames: the gateway closes with the code and stops answering."""
    return Case(
        rule=rule, section=section, frames=frames, answers=("101", *before, f"close {code}", "end")
    )


def deviating(case: Case, why: str) -> Case:
    """Return the case with the reason of its deviation."""
    return attrs.evolve(case, deviation=why)


def request(
    *more: bytes,
    line: bytes = b"GET /wss/user?id={key} HTTP/1.1",
    end: bytes = b"\r\n",
    change: Mapping[str, bytes | None] | None = None,
) -> bytes:
    """Return the request of a handshake.

    Args:
        more: Further lines.
        line: First line.
        end: End of each line.
        change: Other values of required headers; None omits the header.
    """
    headers = {**_HEADERS, **(change or {})}
    lines = [
        line,
        *(b"%b: %b" % (name.encode(), text) for name, text in headers.items() if text is not None),
    ]
    return end.join([*lines, *more, b"", b""])


REQUEST = request()


def opened(rule: str, section: str, asked: bytes, *headers: tuple[str, str]) -> Case:
    """Return a case that opens a websocket, with these headers in the answer, or ``none``."""
    return Case(
        rule=rule,
        section=section,
        request=asked,
        headers=tuple(name for name, _ in headers),
        frames=frame(1, b"x") + GOODBYE,
        answers=(
            "101",
            *(f"{name}: {value}" for name, value in headers),
            REFUSED,
            "close 1000",
            "end",
        ),
    )


def refused(rule: str, section: str, asked: bytes, status: int, *headers: tuple[str, str]) -> Case:
    """Return a case that is refused with the status and these headers."""
    return Case(
        rule=rule,
        section=section,
        request=asked,
        headers=tuple(name for name, _ in headers),
        answers=(str(status), *(f"{name}: {value}" for name, value in headers), "end"),
    )
