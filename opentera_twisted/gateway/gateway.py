"""The gateway: websockets that log in with session keys, receive events, and are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from google.protobuf.message import DecodeError
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.fanout import Client, Deliver, Fanout
from opentera_twisted.gateway.frames import decode_event, event_frame
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.presence import Presence
from opentera_twisted.gateway.protocol import GOING_AWAY, ClientFactory, ClientProtocol
from opentera_twisted.junk import Junk
from opentera_twisted.messages import ServerCommand, TeraModuleMessage
from opentera_twisted.messages.packing import unpack_all
from opentera_twisted.pubsub import Delivery
from opentera_twisted.sessions import Identity, SessionKeys

SHUTDOWN_TIMEOUT: Final = 10.0
"""Seconds that stopping waits for the reports of who went."""

REDEEM_TIMEOUT: Final = 5.0
"""Seconds that Redis may take over a session key; then the client is told to come again."""

DISCONNECTED_BY_COMMAND: Final = 4000
"""Close code of a client that a ``CMD_CLIENT_DISCONNECT`` sends away."""


class Gateway(Service):
    """Lets websockets in, hands them their events, and tells the bus who came and went.

    Listen with its `factory`: ``endpoint.listen(gateway.factory)``; stop listening before stopping
    it, and stop it before its bus.

    Args:
        bus: whose session keys and events these are; started and stopped by its owner.
        require_bound_keys: refuse the session keys of deployed servers.

    Attributes:
        factory: makes the protocol of each connection.
    """

    _log = Logger()

    def __init__(self, bus: Bus, *, require_bound_keys: bool = False) -> None:
        self._bus = bus
        self._reactor: Any = bus.link.reactor
        self._keys = SessionKeys(bus, require_bound=require_bound_keys)
        self._fanout = Fanout(bus.pubsub)
        self._presence = Presence(bus.link, bus.pubsub)
        self._clients: Counter[str] = Counter()
        self._junk = Junk("a websocket's topic", "an event or a command")
        self._stopping = False
        self.factory = ClientFactory(self, self._reactor)

    @property
    def clients(self) -> Mapping[str, int]:
        """How many websockets are open, by kind."""
        return {kind: self._clients[kind] for kind in topics.KINDS}

    def startService(self) -> None:
        """Let clients in."""
        super().startService()
        self._stopping = False

    def stopService(self) -> Deferred[None]:
        """Close every websocket with 1001 and report everyone gone.

        Returns:
            Fires when all are closed and Redis has the reports, or after `SHUTDOWN_TIMEOUT`.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        super().stopService()
        self._stopping = True
        await self.factory.close_all(GOING_AWAY, "the server is going away")
        try:
            await self._presence.reported().addTimeout(SHUTDOWN_TIMEOUT, self._reactor)
        except DeferredTimeout:
            self._log.error(
                "Redis did not take {count} reports of who went; they seem online",
                count=self._presence.give_up(),
            )

    # --- what the protocols ask

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        """Redeem the session key and subscribe the client's topics.

        Raises:
            Refusal: 403 for a key that is not valid, whatever it is; 503 when the key may be good
                but Redis cannot say so now.
        """
        if self._stopping or not self._bus.link.is_ready:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no link to Redis")
        try:
            redeeming = self._keys.redeem(login.kind, login.key)
            identity = await redeeming.addTimeout(REDEEM_TIMEOUT, self._reactor)
        except DeferredTimeout:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "Redis did not answer; the key may be used up"
            ) from None
        except BusError as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        if identity is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "the session key is not valid")
        try:
            await self._fanout.follow(client, self._topics(identity))
        except BaseException as error:
            self._fanout.unfollow(client, self._topics(identity))
            if isinstance(error, BusError):
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
            raise
        return identity

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """Report that a client came; its topics are subscribed."""
        self._clients[identity.kind] += 1
        self._presence.opened(identity)

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """Forget a client; report it if it had come."""
        self._fanout.unfollow(client, self._topics(identity))
        if client.was_opened:
            self._clients[identity.kind] -= 1
            self._presence.closed(identity)

    # --- what is delivered

    def _topics(self, identity: Identity) -> dict[str, Deliver]:
        """The topics that a client follows, and what to do with what comes there."""
        return {
            topics.websocket_events(identity.kind, identity.uuid): self._deliver_event,
            topics.disconnect_command(identity.uuid): self._deliver_command,
            **dict.fromkeys(identity.topics, self._deliver_event),
        }

    def _deliver_event(self, delivery: Delivery, clients: Iterable[Client]) -> None:
        event = decode_event(delivery.payload)
        if event is None:
            self._junk.dropped(delivery.topic)
            return
        try:
            frame = event_frame(event)
        except Exception:  # noqa: BLE001 (protobuf fails in many ways on nested junk)
            self._junk.dropped(delivery.topic)
            return
        if frame is not None:
            for client in clients:
                client.send_frame(frame)

    def _deliver_command(self, delivery: Delivery, clients: Iterable[Client]) -> None:
        try:
            message = TeraModuleMessage.FromString(delivery.payload)
        except DecodeError:
            self._junk.dropped(delivery.topic)
            return
        for command in unpack_all(message.data):
            if (
                isinstance(command, ServerCommand)
                and command.type == ServerCommand.CMD_CLIENT_DISCONNECT
            ):
                for client in clients:
                    client.close(DISCONNECTED_BY_COMMAND, "CMD_CLIENT_DISCONNECT")
