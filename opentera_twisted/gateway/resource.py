"""The gateway as a resource of a ``twisted.web`` site, beside other resources."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote_from_bytes

from twisted.protocols.policies import ProtocolWrapper
from twisted.web.pages import notFound
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from opentera_twisted.gateway.protocol import ClientFactory


@implementer(IResource)
class GatewayResource:
    """Takes over the connection of a request for ``user``, ``participant`` or ``device`` below it.

    The site does not answer such a request itself, so its access log does not see the session key.
    The exception is a request for a whole URI, which no client sends: the site answers it with 404.
    """

    isLeaf = True

    def __init__(self, factory: ClientFactory) -> None:
        self._factory = factory

    def getChildWithDefault(self, name: bytes, request: Any) -> Any:
        """Return this resource for every path below it; `render` reads the path."""
        return notFound()

    def putChild(self, path: bytes, child: Any) -> None:
        """Ignore a child."""

    def render(self, request: Any) -> int | bytes:
        """Hand the connection and the request to the gateway's protocol."""
        channel = request.channel
        transport = channel.transport
        if transport is None:  # HTTP/2: many requests share the connection
            request.setResponseCode(HTTPStatus.UPGRADE_REQUIRED)
            request.uri = request.path
            return b""
        protocol: Any = self._factory.buildProtocol(transport.getPeer())
        channel.transport = None
        wrapper = transport if isinstance(transport, ProtocolWrapper) else transport.protocol
        if isinstance(wrapper, ProtocolWrapper):  # TLS, or another layer
            wrapper.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        # The channel would pause reading while many bytes are queued, and would stay in memory.
        transport.unregisterProducer()
        transport.resumeProducing()  # paused while the site answers
        protocol.makeConnection(transport)
        protocol.dataReceived(_original(request))
        # The channel is still parsing the read in which the request ended; the rest are frames.
        channel.rawDataReceived = protocol.dataReceived
        return NOT_DONE_YET


def _original(request: Any) -> bytes:
    """Restore the bytes of the request, so that the gateway checks its version and headers.

    The path becomes the gateway's own, wherever the site has the resource. Its segments are quoted:
    a line break in one would begin another header.
    """
    _, mark, query = request.uri.partition(b"?")
    path = "/".join(quote_from_bytes(segment, safe="") for segment in request.postpath)
    lines = [
        b"%b /wss/%b%b%b %b" % (request.method, path.encode(), mark, query, request.clientproto)
    ]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [b"%b: %b" % (name, value) for value in values]
    return b"\r\n".join([*lines, b"", request.content.read()])
