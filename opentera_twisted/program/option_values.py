"""What options say: from the text of the command line, or of a file, to its value."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.internet.endpoints import serverFromString

from opentera_twisted._internal import ip_addresses
from opentera_twisted._internal.private_key import private_key
from opentera_twisted._internal.timeouts import LONGEST
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.compression import MAX_WINDOW_BITS, MIN_WINDOW_BITS

DEFAULT_WEBSOCKET: Final = "tcp:40085:interface=127.0.0.1"

SHAREABLE: Final = ("tcp", "tcp6", "unix", "systemd")
"""Kinds of endpoints that listen with a socket and do nothing else."""

BACKLOG: Final = 4096
"""Connections that may wait to be accepted, as far as the system allows."""


def count(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise InvalidArgument(f"{text!r} is not a whole number from {least} on")
    return number


def seconds(text: str) -> float:
    """Seconds from 0 on."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < LONGEST:
        raise InvalidArgument(
            f"{text!r} is not a number of seconds from 0 on, and below {LONGEST:.0f}"
        )
    return number


def choice(*allowed: str) -> Callable[[str], str]:
    """One of some words."""

    def choose(text: str) -> str:
        if text not in allowed:
            raise InvalidArgument(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return choose


def window(text: str) -> int:
    """The logarithm of a window of compression, or 0."""
    bits = count(text)
    if bits and not MIN_WINDOW_BITS <= bits <= MAX_WINDOW_BITS:
        raise InvalidArgument(f"{bits} is not 0 or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}")
    return bits


def check_endpoint(text: str) -> None:
    """Check an endpoint string."""
    from twisted.internet import reactor  # noqa: PLC0415 (twistd has chosen it by now)

    try:
        if (file := _key_file(text)) is not None:
            private_key(Path(file).read_bytes(), file)
        serverFromString(reactor, text)
    except InvalidArgument:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InvalidArgument(
            f"{text!r} is not an endpoint such as {DEFAULT_WEBSOCKET}: {error}"
        ) from None


def _key_file(endpoint: str) -> str | None:
    """The file of the private key of an ``ssl:`` endpoint, behind any number of wrappers.

    Source: Twisted, "Getting Connected with Endpoints", SSL server endpoints.
    """
    fields = [
        re.sub(r"\\(.)", r"\1", one) for one in re.findall(r"((?:[^:\\]|\\.)*)(?::|$)", endpoint)
    ]
    if "ssl" not in fields:
        return None
    arguments = fields[fields.index("ssl") + 1 :]
    named = dict(one.split("=", 1) for one in arguments if "=" in one)
    positional = [one for one in arguments if one and "=" not in one]
    return named.get("privateKey") or (positional[1] if len(positional) > 1 else "server.pem")


def check_shareable(text: str) -> None:
    """See that several workers can share this endpoint."""
    kind = text.partition(":")[0]
    if kind == "ssl":
        raise InvalidArgument(
            f"{text!r} has a certificate of its own, which --workers cannot share: make it a tcp: "
            "endpoint with --certificate and --private-key"
        )
    if kind not in SHAREABLE:
        raise InvalidArgument(
            f"{text!r} cannot be shared by --workers: expected one of "
            f"{', '.join(f'{one}:' for one in SHAREABLE)}"
        )


def with_backlog(endpoint: str) -> str:
    """An endpoint whose socket lets a storm of clients wait; Twisted's 50 would lose some."""
    kind = endpoint.partition(":")[0]
    if kind not in {"tcp", "tcp6", "ssl", "unix"} or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    if endpoint.startswith("unix:"):
        return True
    found = re.search(r":interface=((?:[^:\\]|\\.)*)", endpoint)
    return found is not None and ip_addresses.is_loopback(found[1].replace("\\", ""))
