"""The resources of the admin endpoint."""

from __future__ import annotations

import json
from hashlib import sha256
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from klein import Klein
from twisted.web.http import CACHED, Request
from twisted.web.iweb import IRequest
from twisted.web.server import Site

from opentera_twisted.admin.metrics import CONTENT_TYPE, Metrics
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway

JAVASCRIPT_CLIENT: Final = "opentera-bus.js"
"""The client for browsers: its file beside this one, and its path."""


class _QuietSite(Site):
    """A Site that does not log each request: a probe asks for ever."""

    def log(self, request: Request) -> None:
        """Log nothing."""


def admin_site(bus: Bus, gateway: Gateway) -> Site:
    """The site of the admin endpoint.

    ``GET /health`` answers a JSON object: 200 when the link to Redis is ready, else 503.
    ``GET /metrics`` answers what Prometheus reads.
    ``GET /opentera-bus.js`` answers the client for browsers, which pages of any origin may import.
    """
    app = Klein()
    metrics = Metrics(gateway)
    ours = version("opentera-twisted")
    client = files(__package__).joinpath(JAVASCRIPT_CLIENT).read_bytes()
    client_tag = b'"%b"' % sha256(client).hexdigest()[:32].encode()

    @app.route("/health", methods=["GET"])
    def health(request: IRequest) -> bytes:
        ready = bus.link.is_ready
        if not ready:
            request.setResponseCode(HTTPStatus.SERVICE_UNAVAILABLE)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        page = {**_health(bus, gateway, ready=ready), "version": ours}
        return json.dumps(page, indent=2).encode() + b"\n"

    @app.route("/metrics", methods=["GET"])
    def metrics_page(request: IRequest) -> bytes:
        request.setHeader(b"Content-Type", CONTENT_TYPE.encode())
        request.setHeader(b"Cache-Control", b"no-store")
        return metrics.page()

    @app.route(f"/{JAVASCRIPT_CLIENT}", methods=["GET"])
    def javascript_client(request: IRequest) -> bytes:
        request.setHeader(b"Content-Type", b"text/javascript; charset=utf-8")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        # Kept, but asked for again each time: a new gateway brings its own client.
        request.setHeader(b"Cache-Control", b"public, no-cache")
        request.setHeader(b"Access-Control-Allow-Origin", b"*")
        return b"" if request.setETag(client_tag) is CACHED else client

    return _QuietSite(app.resource())


def _health(bus: Bus, gateway: Gateway, *, ready: bool) -> dict[str, Any]:
    subscriptions = bus.link.subscriptions
    return {
        "status": "ready" if ready else "unavailable",
        "redis": {"address": str(bus.link.address), **bus.link.states},
        "subscriptions": {
            "wanted": len(subscriptions.wanted),
            "acknowledged": len(subscriptions.acknowledged),
        },
        "clients": dict(gateway.clients),
    }
