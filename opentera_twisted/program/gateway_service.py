"""The service ``service.OpenTeraGateway``: each gateway tells operators about itself."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.listing import Listing
from opentera_twisted.rpc import Procedures, ProcedureServer
from opentera_twisted.topics import GATEWAY_SERVICE


class GatewayService:
    """Serves the `Listing` of a gateway from the first time that the link is ready.

    Args:
        bus: bus of the gateway.
        gateway: gateway to list.
        name: name of the program.
    """

    _log = Logger()

    def __init__(self, bus: Bus, gateway: Gateway, name: str) -> None:
        self._bus = bus
        listing = Listing(gateway, bus.link, name)
        self._procedures = Procedures(version="1", doc="Gateways of opentera-twisted.")
        self._procedures.expose(listing.summary)
        self._procedures.expose(listing.clients)
        self._serving: Deferred[None] | None = None
        self._server: ProcedureServer | None = None

    def start(self) -> None:
        """Serve as soon as the link is ready."""
        self._bus.link.on_ready.append(self._serve)
        if self._bus.link.is_ready:
            self._serve()

    async def stop(self) -> None:
        """Finish the running calls and stop serving."""
        self._bus.link.on_ready.remove(self._serve)
        if self._serving is not None:
            self._serving.cancel()
        if self._server is not None:
            await self._server.stop()

    def _serve(self) -> None:
        if self._serving is None and self._server is None:
            serving = self._bus.serve_service(GATEWAY_SERVICE, self._procedures)
            self._serving = serving.addCallbacks(self._served, self._refused)

    def _served(self, server: ProcedureServer) -> None:
        self._server, self._serving = server, None

    def _refused(self, failure: Failure) -> None:
        failure.trap(BusError, CancelledError)
        self._serving = None
        if failure.check(BusError):
            self._log.warn(
                "opentera-bus clients and gateways cannot see this gateway: {reason}",
                reason=failure.getErrorMessage(),
            )
