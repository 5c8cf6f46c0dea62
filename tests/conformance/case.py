"""What a case is: a rule, the bytes that try it, and what must come back."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .frames import close, frame

KEY = b"{key}"
"""Stands for a fresh session key."""

NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="

REFUSED = "Not allowed to send message"
"""What a client hears for each of its messages: the answer to one that was taken whole."""

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
    """One rule and how it is tried.

    Attributes:
        rule: what must hold; its name.
        section: of RFC 6455, or of what is named with it.
        frames: bytes that the client sends once its websocket is open.
        answers: what must come back: the status of the handshake, the asked-for headers, then
            texts, ``pong <hex>``, ``close <code>``, and ``end`` or ``reset``.
        request: of the handshake, where it is what is tried.
        headers: of the answer, to be told.
        is_sent_away: whether the gateway closes first, before the client sends its frames.
        deviation: why the gateway does otherwise than the RFC says; the answers are the gateway's.
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
    """The frames are in order: they are answered so, and then the client takes its leave."""
    return Case(
        rule=rule,
        section=section,
        frames=frames + GOODBYE,
        answers=("101", *answers, "close 1000", "end"),
    )


def failed(rule: str, section: str, frames: bytes, code: int, *before: str) -> Case:
    """The frames break a rule: the gateway closes with the code, and answers nothing after that."""
    return Case(
        rule=rule, section=section, frames=frames, answers=("101", *before, f"close {code}", "end")
    )


def deviating(case: Case, why: str) -> Case:
    """The case, and why the gateway does otherwise."""
    return attrs.evolve(case, deviation=why)


def request(
    *more: bytes,
    line: bytes = b"GET /wss/user?id={key} HTTP/1.1",
    end: bytes = b"\r\n",
    change: Mapping[str, bytes | None] | None = None,
) -> bytes:
    """The request of a handshake.

    Args:
        more: further lines.
        line: the first one.
        end: of each line.
        change: other values of the headers that there must be; None: it is left out.
    """
    headers = {**_HEADERS, **(change or {})}
    lines = [
        line,
        *(b"%b: %b" % (name.encode(), text) for name, text in headers.items() if text is not None),
    ]
    return end.join([*lines, *more, b"", b""])


REQUEST = request()


def opened(rule: str, section: str, asked: bytes, *headers: tuple[str, str]) -> Case:
    """The request opens a websocket, with these headers in the answer (``none``: without)."""
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
    """The request is refused with the status, and these headers in the answer."""
    return Case(
        rule=rule,
        section=section,
        request=asked,
        headers=tuple(name for name, _ in headers),
        answers=(str(status), *(f"{name}: {value}" for name, value in headers), "end"),
    )
