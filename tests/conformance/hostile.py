"""Hostile requests: invalid session keys, and requests that never end."""

from __future__ import annotations

from collections.abc import Iterator

from .case import KEY, REQUEST, Case, refused, request

SILENT = {
    "nothing at all": b"",
    "one byte": b"G",
    "half a handshake": REQUEST[: len(REQUEST) // 2],
    "a handshake without its last line": REQUEST[:-2],
    "a handshake whose lines all end with a bare line feed": request(end=b"\n"),
    "half a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00",
}
"""Bytes before a silence, which ends with the handshake timeout."""


def keys() -> Iterator[Case]:
    """Keys refused by their form or by their value in Redis."""
    for query, words in (
        (b"", "no session key"),
        (b"id=", "an empty session key"),
        (b"id=x", "a session key of another form"),
        (b"ID=" + KEY, "a session key by another name"),
        (b"id=" + KEY + b"&id=" + KEY, "two session keys"),
        (b"id=" + KEY + b"&id=x", "a session key and another"),
        (b"id[]=" + KEY, "a list of session keys"),
        (b"id=*", "a pattern"),
        (b"id=OpenTera.TokenAPIKey", "another key's name"),
        (b"id=%00" + KEY, "a NUL before a session key"),
        (b"id=" + KEY + b"%00", "a NUL after a session key"),
        (b"id=" + KEY + b"%0d%0aX:y", "CR and LF in a session key"),
        (b"id=x%0d%0aDEL%20x", "a command of Redis in a session key"),
        (b"id=%ff%fe" + KEY, "a session key that is not UTF-8"),
        (b"id=%c0%af", "an overlong slash"),
        (b"id=" + b"x" * 10_000, "a session key of 10,000 bytes"),
        (b"id=" + b"%ff" * 5000, "a session key of 5,000 escaped bytes"),
        (b"&" * 10_000, "10,000 empty fields"),
        (b"x=y&" * 2000 + b"id=x", "2,000 fields before a session key"),
    ):
        yield refused(
            f"{words}: refused without details",
            "10.5",
            request(line=b"GET /wss/user?" + query + b" HTTP/1.1"),
            403,
        )
    for line, words in (
        (b"GET /wss/user?id=\xff\xfe HTTP/1.1", "bytes beyond ASCII in the target"),
        (b"GET /wss/user?id=\0 HTTP/1.1", "a NUL in the target"),
        (b"GET /wss/user?id=x\r\nX-Injected HTTP/1.1", "CR and LF in the target"),
        (b"GET /wss/user?id=x\nX HTTP/1.1", "a bare LF in the target"),
        (b"GET /wss/user?id=x y HTTP/1.1", "a space in the target"),
        (b"GET http://[::1/wss/user?id=x HTTP/1.1", "half an address in the target"),
    ):
        yield refused(
            f"{words}: refused as malformed", "10.5; RFC 9112, 3", request(line=line), 400
        )


CASES = list(keys())
