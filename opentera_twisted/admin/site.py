"""The HTTP site of the admin endpoint: security headers, limited bodies, no access log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

MAX_BODY: Final = 262_144
"""Bytes of a request's body; the site refuses longer requests."""

_CONTENT_SECURITY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class AdminRequest(Request):
    """A request that discards its body beyond `MAX_BODY`.

    Attributes:
        is_too_long: True if the body was longer.
    """

    is_too_long = False
    _kept = 0

    def gotLength(self, length: int | None) -> None:
        """Prepare for a body of at most `MAX_BODY`, whatever length is announced."""
        super().gotLength(None if length is None else min(length, MAX_BODY))

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body unless the body is too long."""
        self._kept += len(data)
        if self._kept > MAX_BODY:
            self.is_too_long = True
        else:
            super().handleContentChunk(data)


class AdminSite(Site):
    """A site with a strict content security policy and no access log.

    Args:
        resource: root resource.
        opens_websockets: True allows the page to open websockets.
        on_start: called when the site starts to listen.
        on_stop: called when the site stops listening.
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
            # With no-referrer, a browser would send the token's form with the origin null.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cache-Control": "no-store",
        }
        self._on_start = on_start
        self._on_stop = on_stop

    def startFactory(self) -> None:
        """Call ``on_start``."""
        super().startFactory()
        self._on_start()

    def stopFactory(self) -> None:
        """Call ``on_stop``."""
        self._on_stop()
        super().stopFactory()

    def getResourceFor(self, request: Any) -> IResource:
        """Find the resource for a request, and set the common headers."""
        for name, value in self._headers.items():
            request.setHeader(name, value)
        resource: IResource = super().getResourceFor(request)
        return resource

    def log(self, request: HTTPRequest) -> None:
        """Log nothing: probes would fill the log."""
