"""Recognize another server at Redis's address: HTTP, mail, SSH or TLS."""

from __future__ import annotations

import re
from typing import Final

from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as TransportLost
from twisted.python.failure import Failure

from opentera_twisted.errors import ConnectionLost

# Only greetings that repeat nothing of the request: an answer may contain a password.
_GREETINGS: Final = (
    (re.compile(rb"HTTP/\d[ -~]*"), "an HTTP server"),
    (re.compile(rb"<(?:!DOCTYPE html|html)", re.IGNORECASE), "an HTTP server"),
    (re.compile(rb"SSH-[ -~]*"), "an SSH server"),
    (re.compile(rb"220[ -][ -~]*"), "a mail or FTP server"),
)
_TLS_RECORD: Final = re.compile(rb"[\x15\x16]\x03[\x00-\x04]")
_NO_TLS: Final = (
    "wrong version number",
    "unknown protocol",
    "record layer failure",
    "packet length too long",
    "unexpected eof while reading",
)
_LONGEST: Final = 80


def answered(data: bytes) -> str:
    """Name the server that sent data instead of Redis's protocol."""
    if _TLS_RECORD.match(data):
        return "a server with TLS answered instead of Redis: if it is Redis, use rediss://"
    for form, kind in _GREETINGS:
        if found := form.match(data):
            return f"{kind} answered instead of Redis: {found[0][:_LONGEST].decode()!r}"
    return f"something else answered instead of Redis: its first byte is {data[:1]!r}"


def silent(seconds: float, *, is_secure: bool) -> str:
    """Explain a server that has sent nothing since the connection was made."""
    return f"nothing answered for {seconds:g} seconds: {_other(is_secure)}"


def unanswered(*, is_secure: bool) -> str:
    """Explain a server that accepted the connection but has not answered yet."""
    return f"it accepted the connection and has not answered: {_other(is_secure)}"


def closed(reason: Failure, *, is_secure: bool, was_heard: bool) -> Failure:
    """Make the cause to report for a lost connection.

    Args:
        reason: reason from the transport.
        is_secure: True for a connection with TLS.
        was_heard: True if any data was received.
    """
    if was_heard:
        return reason
    if is_secure and reason.check("OpenSSL.SSL.Error"):  # by name, without loading it
        text = str(reason.value)
        if any(message in text for message in _NO_TLS):
            return Failure(
                ConnectionLost(
                    "the server does not speak TLS: if it is Redis, use redis:// instead of "
                    "rediss://"
                )
            )
    if reason.check(ConnectionDone, TransportLost):
        return Failure(
            ConnectionLost(
                f"the server closed the connection before it answered: {_other(is_secure)}"
            )
        )
    return reason


def _other(is_secure: bool) -> str:
    scheme = "redis:// instead of rediss://" if is_secure else "rediss:// instead of redis://"
    return f"it may not be Redis, or it needs {scheme}"
