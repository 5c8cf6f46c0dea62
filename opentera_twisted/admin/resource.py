"""The resources of the admin endpoint."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from klein import Klein
from twisted.web.http import Request
from twisted.web.iweb import IRequest
from twisted.web.server import Site

from opentera_twisted.admin.metrics import CONTENT_TYPE, Metrics
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway


class _QuietSite(Site):
    """A Site that does not log each request: a probe asks for ever."""

    def log(self, request: Request) -> None:
        """Log nothing."""


def admin_site(bus: Bus, gateway: Gateway) -> Site:
    """The site of the admin endpoint.

    ``GET /health`` answers a JSON object: 200 when the link to Redis is ready, else 503.
    ``GET /metrics`` answers what Prometheus reads.
    """
    app = Klein()
    metrics = Metrics(gateway)
    ours = version("opentera-twisted")

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
