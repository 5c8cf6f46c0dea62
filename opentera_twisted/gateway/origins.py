"""Which web pages may open websockets: a page elsewhere must not use a visitor's session.

Source: RFC 6454; RFC 6455, section 10.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from opentera_twisted.errors import InvalidArgument

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"(\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])")


@frozen
class Origin:
    """Scheme, host and port of a page."""

    scheme: str
    host: str
    port: int


class Origins:
    """The origins whose pages are let in.

    Args:
        allowed: such as ``https://rehab.example.org``, with a port unless it is the scheme's own,
            ``https://*.example.org`` for all below a name, or ``*`` for any. None: any.

    Raises:
        InvalidArgument: one is not of that form.

    Attributes:
        any: whether every origin is let in.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        texts = list(allowed)
        self.any = not texts or "*" in texts
        self._allowed = frozenset(_pattern(text) for text in texts if text != "*")

    def allow(self, origin: str) -> bool:
        """Whether a page may open a websocket.

        Args:
            origin: the header as it came; empty when there was none. Only browsers send it, so
                without it there is no page to keep out.
        """
        if self.any or not origin:
            return True
        parsed = _parse(origin)
        if parsed is None or parsed.host.startswith("*."):
            return False
        if parsed in self._allowed:
            return True
        names = parsed.host.split(".")
        return any(
            Origin(parsed.scheme, ".".join(["*", *names[start:]]), parsed.port) in self._allowed
            for start in range(1, len(names))
        )


def _pattern(text: str) -> Origin:
    origin = _parse(text)
    if origin is None:
        raise InvalidArgument(
            f"{text!r} is not an origin: expected such as https://rehab.example.org, "
            "https://*.example.org or *, without a path"
        )
    return origin


def _parse(text: str) -> Origin | None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    host = parts.netloc.lower().rpartition("@")[2]
    if port is not None:
        host = host.rpartition(":")[0]
    if scheme not in _DEFAULT_PORTS or "@" in parts.netloc or not _HOST.fullmatch(host):
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    return Origin(scheme, host, port or _DEFAULT_PORTS[scheme])
