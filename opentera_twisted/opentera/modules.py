"""`BaseModule` and `ServiceOpenTera`: base classes of existing modules and services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal.gathered import gathered
from opentera_twisted.errors import BusUnavailable, InvalidArgument
from opentera_twisted.messages import ServerCommand, TeraEvent, TeraModuleMessage
from opentera_twisted.messages.envelopes import module_message, pack, tera_event
from opentera_twisted.opentera.client import Callback, RedisClient
from opentera_twisted.opentera.logs import LoggingClient
from opentera_twisted.opentera.rpc_api import RpcApi, RpcApiProcedures
from opentera_twisted.pubsub import Delivery
from opentera_twisted.rpc import Procedures, ProcedureServer


class _Program(RedisClient):
    """Common base of modules and services."""

    rpc_api: RpcApi
    logger: LoggingClient
    _answering: ProcedureServer | None = None

    def setup_rpc_interface(self) -> None:
        """Override it to add procedures to ``rpc_api``."""

    def redisClose(self) -> Deferred[Any]:
        """End everything that it has started."""
        self.logger.close()
        return super().redisClose()

    def _not_built(self, failure: Failure) -> Failure | None:
        """Report why it does not listen, unless it was closed in the meantime."""
        return None if self._is_closed and failure.check(BusUnavailable) else failure

    def create_event_message(self, topic: str) -> TeraEvent:
        """Make an envelope for events on a topic."""
        return tera_event(topic, [])

    def send_event_message(self, event: Message, topic: str) -> Any:
        """Publish an event in its envelope."""
        return self.publish(topic, tera_event(topic, [event]))

    def _serve(
        self,
        method: Callback,
        base: Callable[..., None],
        rpc: Sequence[str],
        serve: Callable[[Procedures], Deferred[ProcedureServer]],
    ) -> list[Deferred[Any]]:
        """Serve ``rpc_api``, or pass the calls to the method that a class overrides."""
        if getattr(method, "__func__", None) is not base:
            return [self.subscribe_pattern_with_callback(topic, method) for topic in rpc]
        serving = serve(self._procedures())
        return [serving.addCallback(lambda server: self._lease.keep(server, server.stop))]

    def _answer(self, name: str, delivery: Delivery) -> None:
        """Serve one call from ``rpc_api``, for a class that overrides the method."""
        server = self._answering
        if server is None:
            bus = self.bus
            server = self._answering = ProcedureServer(
                bus.link, bus.pubsub, name, (), self._procedures(), served=bus.served
            )
            self._lease.keep(server, server.stop)
        server.received(delivery)

    def _procedures(self) -> Procedures:
        return RpcApiProcedures(self.rpc_api, type(self).__doc__ or "")


class BaseModule(_Program):
    """A module, whose messages and calls are passed to the methods of a derived class.

    Calls are served from ``rpc_api``, with exactly one reply each; unknown procedures get an error.
    A callback runs in the reactor's thread and may return a Deferred; further calls are served
    meanwhile.

    Args:
        module_name: name in its topics.
        config: object with a ``redis_config`` as in `RedisClient`.

    Example:
        >>> from types import SimpleNamespace
        >>> config = SimpleNamespace(redis_config={"hostname": "127.0.0.1", "port": 6379, "db": 0})
        >>> bell = BaseModule("Bell", config)
        >>> bell.rpc_api["ring"] = {"args": [], "returns": "str", "callback": lambda: "rang"}
        >>> bell.event_topic_name()
        'module.Bell.events'
    """

    def __init__(self, module_name: str, config: Any) -> None:
        self.module_name = module_name
        self.config = config
        self.rpc_api = {}
        super().__init__(config.redis_config)
        self.logger = LoggingClient(config.redis_config, f"LoggingClient_{type(self).__name__}")

    def get_name(self) -> str:
        """Return the module's name."""
        return self.module_name

    def event_topic_name(self) -> str:
        """Return the topic of the events of the module."""
        return topics.module_events(self.module_name)

    def source_name(self) -> str:
        """Return the topic of the messages to the module."""
        return topics.module_messages(self.module_name)

    def setup_module_pubsub(self) -> None:
        """Override it for further subscriptions."""

    def notify_module_messages(self, pattern: str, channel: str, message: bytes) -> None:
        """Override it to handle each ``TeraModuleMessage`` to this module."""

    def notify_module_rpc(self, pattern: str, channel: str, message: bytes) -> None:
        """Serve a call from ``rpc_api``; a derived class may override it."""
        self._answer(self.module_name, Delivery(channel, pattern, message))

    def redisConnectionMade(self) -> None:
        """Serve and subscribe, once Redis is connected."""
        self.setup_rpc_interface()
        self.build_interface().addErrback(self._not_built)
        self.setup_module_pubsub()

    def build_interface(self) -> Deferred[Any]:
        """Listen for messages and calls; fires when Redis has acknowledged both."""
        listening = self.subscribe_pattern_with_callback(
            self.source_name(), self.notify_module_messages
        )
        serving = self._serve(
            self.notify_module_rpc,
            BaseModule.notify_module_rpc,
            [topics.module_rpc(self.module_name)],
            partial(self.bus.serve_module, self.module_name),
        )
        return gathered([listening, *serving])

    def create_tera_message(self, dest: str = "", seq: int = 0) -> TeraModuleMessage:
        """Make an envelope for messages from this module."""
        message = self.create_module_message(f"module.{self.module_name}", dest)
        message.head.seq = seq
        return message

    def create_module_message(self, src: str, dest: str) -> TeraModuleMessage:
        """Make an envelope for messages to a topic."""
        return module_message(src, dest, [])

    def send_module_message(self, message: TeraModuleMessage) -> Any:
        """Publish an envelope on its destination."""
        return self.publish(message.head.dest, message)

    def send_user_disconnect_module_message(self, user_uuid: str) -> Any:
        """Close the websockets of a user."""
        return self._disconnect(user_uuid)

    def send_participant_disconnect_module_message(self, participant_uuid: str) -> Any:
        """Close the websockets of a participant."""
        return self._disconnect(participant_uuid)

    def send_device_disconnect_module_message(self, device_uuid: str) -> Any:
        """Close the websockets of a device."""
        return self._disconnect(device_uuid)

    def _disconnect(self, uuid: str) -> Any:
        command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        *others, dest = topics.disconnect_commands(uuid)
        for other in others:
            self.send_module_message(module_message(self.source_name(), other, [command]))
        return self.send_module_message(module_message(self.source_name(), dest, [command]))


class ServiceOpenTera(_Program):
    """A service that does not need OpenTera: it makes no HTTP requests and signs no tokens.

    It listens under its key and its UUID, and serves calls as `BaseModule` does. Existing services
    keep OpenTera's own class, on the `RedisClient` of this package: see `install`.

    Args:
        config_man: object with a ``redis_config`` as in `RedisClient`, and a ``service_config``.
        service_info: ``service_key``, ``service_uuid`` and any other items. The default UUID is the
            ``ServiceUUID`` of ``service_config``.

    Example:
        >>> from types import SimpleNamespace
        >>> redis = {"hostname": "127.0.0.1", "port": 6379, "db": 0}
        >>> config = SimpleNamespace(redis_config=redis, service_config={"ServiceUUID": UUID})
        >>> bell = ServiceOpenTera(config, {"service_key": "Bell"})
        >>> bell.rpc_api["ring"] = {"args": [], "returns": "str", "callback": lambda: "rang"}
    """

    def __init__(self, config_man: Any, service_info: Mapping[str, Any]) -> None:
        self.config_man = config_man
        self.config = config_man.service_config
        self.service_info = service_info
        uuid = service_info.get("service_uuid") or self.config.get("ServiceUUID")
        if not uuid:
            raise InvalidArgument(
                "a service needs a UUID: service_uuid of service_info, or ServiceUUID of "
                "service_config"
            )
        self.service_uuid: str = uuid
        self.rpc_api = {}
        super().__init__(config_man.redis_config)
        self.logger = LoggingClient(config_man.redis_config, f"LoggingClient_{type(self).__name__}")

    def setup_rpc_interface(self) -> None:
        """Add the procedure to ``rpc_api`` that an OpenTera server calls in every service."""
        self.rpc_api["session_type_config"] = {
            "args": ["int:id_session_type"],
            "returns": "dict",
            "callback": self.get_session_type_config_form,
        }

    def get_session_type_config_form(self, id_session_type: int) -> Mapping[str, Any]:
        """Override it to return the settings form of a session type; returns an empty form."""
        return {}

    def register_to_events(self) -> Any:
        """Override it for further subscriptions."""

    def notify_service_messages(self, pattern: str, channel: str, message: bytes) -> None:
        """Override it to handle each ``TeraModuleMessage`` to this service."""

    def notify_service_rpc(self, pattern: str, channel: str, message: bytes) -> None:
        """Serve a call from ``rpc_api``; a derived class may override it."""
        self._answer(self.service_info["service_key"], Delivery(channel, pattern, message))

    def redisConnectionMade(self) -> None:
        """Serve and subscribe, once Redis is connected."""
        self.setup_rpc_interface()
        self.build_interface().addErrback(self._not_built)
        self.register_to_events()

    def build_interface(self) -> Deferred[Any]:
        """Listen for messages and calls; fires when Redis has acknowledged all."""
        key = self.service_info["service_key"]
        names = (self.service_uuid, key)
        listening = [
            self.subscribe_pattern_with_callback(
                topics.service_messages(name), self.notify_service_messages
            )
            for name in names
        ]
        serving = self._serve(
            self.notify_service_rpc,
            ServiceOpenTera.notify_service_rpc,
            [topics.service_rpc(name) for name in names],
            partial(self.bus.serve_service, key, uuid=self.service_uuid),
        )
        return gathered([*listening, *serving])

    def send_service_event_message(self, event: Message) -> Any:
        """Publish an event on the event topic of this service."""
        topic = topics.service_events(self.service_info["service_key"])
        return self.send_event_message(event, topic)

    def create_tera_message(self, src: str = "", dest: str = "", seq: int = 0) -> TeraModuleMessage:
        """Make an envelope for messages to a topic."""
        message = module_message(src, dest, [])
        message.head.seq = seq
        return message

    def send_tera_message(self, event: Message, src: str, topic: str) -> Any:
        """Publish a message in its envelope."""
        message = self.create_tera_message(src, topic)
        message.data.append(pack(event))
        return self.publish(topic, message)
