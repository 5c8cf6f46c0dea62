"""Parsing and checking of option values."""

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
from opentera_twisted.gateway.deflate import MAX_WINDOW_BITS, MIN_WINDOW_BITS

DEFAULT_WEBSOCKET: Final = "tcp:40085:interface=127.0.0.1"

SHAREABLE: Final = ("tcp", "tcp6", "unix", "systemd")
"""Kinds of endpoints that workers can share: plain listening sockets."""

BACKLOG: Final = 4096
"""Connections in a socket's accept queue; the system may lower it."""


def count(text: str) -> int:
    """Parse an integer ≥ 0."""
    return _integer(text, 0)


def positive(text: str) -> int:
    """Parse an integer ≥ 1."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise InvalidArgument(f"expected an integer ≥ {least}, not {text!r}")
    return number


def seconds(text: str) -> float:
    """Parse seconds ≥ 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < LONGEST:
        raise InvalidArgument(f"expected seconds from 0 to {LONGEST:.0f}, not {text!r}")
    return number


def choice(*allowed: str) -> Callable[[str], str]:
    """Make a parser that accepts some words."""

    def choose(text: str) -> str:
        if text not in allowed:
            raise InvalidArgument(f"expected one of {', '.join(allowed)}, not {text!r}")
        return text

    return choose


def window(text: str) -> int:
    """Parse the binary logarithm of a compression window, or 0."""
    bits = count(text)
    if bits and not MIN_WINDOW_BITS <= bits <= MAX_WINDOW_BITS:
        raise InvalidArgument(f"expected 0, or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}, not {bits}")
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
            f"expected an endpoint such as {DEFAULT_WEBSOCKET}, not {text!r}: {error}"
        ) from None


def _key_file(endpoint: str) -> str | None:
    """Return the private key's file of an ``ssl:`` endpoint, inside any wrappers.

    Source: Twisted, "Getting Connected with Endpoints", SSL server endpoints.
    """
    fields = [
        re.sub(r"\\(.)", r"\1", text) for text in re.findall(r"((?:[^:\\]|\\.)*)(?::|$)", endpoint)
    ]
    if "ssl" not in fields:
        return None
    arguments = fields[fields.index("ssl") + 1 :]
    named = dict(text.split("=", 1) for text in arguments if "=" in text)
    positional = [text for text in arguments if text and "=" not in text]
    return named.get("privateKey") or (positional[1] if len(positional) > 1 else "server.pem")


def check_shareable(text: str) -> None:
    """Check that several workers can share an endpoint."""
    kind = text.partition(":")[0]
    if kind == "ssl":
        raise InvalidArgument(
            f"--workers cannot share {text!r}, which has its own certificate; use a tcp: endpoint "
            "with --certificate and --private-key"
        )
    if kind not in SHAREABLE:
        raise InvalidArgument(
            f"--workers cannot share {text!r}; expected one of "
            f"{', '.join(f'{name}:' for name in SHAREABLE)}"
        )


def with_backlog(endpoint: str) -> str:
    """Enlarge an endpoint's accept queue: Twisted's 50 would lose clients that connect at once."""
    kind = endpoint.partition(":")[0]
    if kind not in {"tcp", "tcp6", "ssl", "unix"} or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def is_loopback(endpoint: str) -> bool:
    """Return True if only this machine can reach an endpoint."""
    if endpoint.startswith("unix:"):
        return True
    found = re.search(r":interface=((?:[^:\\]|\\.)*)", endpoint)
    return found is not None and ip_addresses.is_loopback(found[1].replace("\\", ""))
