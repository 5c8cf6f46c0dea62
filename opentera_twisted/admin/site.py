"""The site of the admin endpoint: every answer guarded, quiet, and small in what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

MAX_BODY: Final = 262_144
"""Bytes of a request's body that are kept; who sends more is refused."""

_CONTENT_SECURITY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class AdminRequest(Request):
    """A request whose body is not kept beyond a size.

    Attributes:
        is_too_long: whether there was more.
    """

    is_too_long = False
    _kept = 0

    def gotLength(self, length: int | None) -> None:
        """A body is coming; what is announced too long will not be kept."""
        super().gotLength(None if length is None else min(length, MAX_BODY))

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless it is too long already."""
        self._kept += len(data)
        if self._kept > MAX_BODY:
            self.is_too_long = True
        else:
            super().handleContentChunk(data)


class AdminSite(Site):
    """A site that forbids browsers what its page does not need, and does not log each request.

    Args:
        resource: its root.
        opens_websockets: whether its page may open websockets.
        on_start: called when it begins to listen.
        on_stop: called when it listens no more.
    """

    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        opens_websockets: bool,
        on_start: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(resource, requestFactory=AdminRequest)
        connect = "'self' ws: wss:" if opens_websockets else "'self'"
        self._headers = {
            "Content-Security-Policy": _CONTENT_SECURITY.format(connect),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            # Without any, a browser sends the form with the token from the origin null.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cache-Control": "no-store",
        }
        self._on_start = on_start
        self._on_stop = on_stop

    def startFactory(self) -> None:
        """It begins to listen."""
        super().startFactory()
        self._on_start()

    def stopFactory(self) -> None:
        """It listens no more."""
        self._on_stop()
        super().stopFactory()

    def getResourceFor(self, request: Any) -> IResource:
        """Find what answers a request, which gets the headers that every answer has."""
        for name, value in self._headers.items():
            request.setHeader(name, value)
        resource: IResource = super().getResourceFor(request)
        return resource

    def log(self, request: HTTPRequest) -> None:
        """Log nothing: a probe asks for ever."""
