"""Origins of web pages that may open websockets, so that no other site can use a visitor's login.

Source: RFC 6454; RFC 6455, section 10.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from opentera_twisted.errors import InvalidArgument

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SOCKETS: Final = frozenset({"ws", "wss"})
_LARGEST_PORT: Final = 65535
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\.|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


@frozen
class Origin:
    """Scheme, host and port of a page.

    Attributes:
        port: port, or None if neither the origin nor its scheme has one.
    """

    scheme: str
    host: str
    port: int | None


_NULL: Final = Origin("null", "", None)
"""The origin ``null``, of pages without an origin."""

_OF_NO_SITE: Final = {"null": _NULL, "file://": _NULL}
"""Origins of local files, which depend on the browser."""


class Origins:
    """The origins whose pages may open websockets.

    Args:
        allowed: origins such as ``https://rehab.example.org``, ``capacitor://localhost`` or
            ``chrome-extension://ID``, with a port unless it is the scheme's default.
            ``https://*.example.org`` means all subdomains, ``null`` pages without an origin, ``*``
            any page. Without any, every origin is allowed.

    Raises:
        InvalidArgument: an origin is malformed.

    Attributes:
        any: True if every origin is allowed.
        null: True if ``null`` is listed. Sandboxed frames of any site and local files send it.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        texts = list(allowed)
        self.any = not texts or "*" in texts
        self._allowed = frozenset(_pattern(text) for text in texts if text != "*")
        self.null = _NULL in self._allowed

    def allow(self, origin: str) -> bool:
        """Return True if a page may open a websocket.

        Args:
            origin: header ``Origin``, or empty. Only browsers send it; clients without it are
                accepted.
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
            f"{text!r} is not an origin; expected https://rehab.example.org, "
            "https://*.example.org, capacitor://localhost, null or *, without a path"
        )
    return origin


def _parse(text: str) -> Origin | None:
    of_no_site = _OF_NO_SITE.get(text.lower())
    if of_no_site:
        return of_no_site
    parts = _ORIGIN.fullmatch(text)
    if parts is None:
        return None
    scheme = parts["scheme"].lower()
    port = _DEFAULT_PORTS.get(scheme) if parts["port"] is None else int(parts["port"])
    if scheme in _SOCKETS or (port or 0) > _LARGEST_PORT:
        return None
    return Origin(scheme, parts["host"].lower(), port)
