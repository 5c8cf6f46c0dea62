"""The gateway as a resource of a ``twisted.web`` site, beside other resources."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote_from_bytes

from autobahn.twisted.resource import WebSocketResource


class GatewayResource(WebSocketResource):  # type: ignore[misc]  # Autobahn is not annotated
    """Takes over the connection of a request for ``user``, ``participant`` or ``device`` below it.

    The site never answers such a request itself, so its access log does not see the session key.
    """

    def render(self, request: Any) -> int | bytes:
        """Hand the connection and the request to the gateway's protocol."""
        transport = request.channel.transport
        if transport is None:  # HTTP/2: many requests share the connection
            request.setResponseCode(HTTPStatus.UPGRADE_REQUIRED)
            request.uri = request.path
            return b""
        # Wherever the resource was put, its paths are the gateway's own. They come unquoted, and
        # Autobahn writes the request anew: a line's end in one would begin another header.
        _, mark, query = request.uri.partition(b"?")
        path = "/".join(quote_from_bytes(segment, safe="") for segment in request.postpath)
        request.uri = b"/wss/" + path.encode() + mark + query
        taken: int = super().render(request)
        # The site's channel would pause reading when much waits to be written; and be kept.
        transport.unregisterProducer()
        return taken
