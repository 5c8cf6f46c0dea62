"""`BaseModule` and `ServiceOpenTera`: what existing modules and services are derived from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred, gatherResults

from opentera_twisted import topics
from opentera_twisted.messages import ServerCommand, TeraEvent, TeraModuleMessage
from opentera_twisted.messages.packing import module_message, pack, tera_event
from opentera_twisted.opentera.client import RedisClient
from opentera_twisted.opentera.logs import LoggingClient
from opentera_twisted.opentera.served import RpcApi, RpcApiProcedures
from opentera_twisted.rpc import Procedures, ProcedureServer


class _Program(RedisClient):
    """What modules and services share."""

    rpc_api: RpcApi
    logger: LoggingClient

    def setup_rpc_interface(self) -> None:
        """For derived classes: put procedures into ``rpc_api``."""

    def redisClose(self) -> Deferred[Any]:
        """End all that it has begun."""
        self.logger.close()
        return super().redisClose()

    def create_event_message(self, topic: str) -> TeraEvent:
        """An envelope for events on a topic."""
        return tera_event(topic, [])

    def send_event_message(self, event: Message, topic: str) -> Any:
        """Publish an event in its envelope."""
        return self.publish(topic, tera_event(topic, [event]))

    def _answer(
        self,
        own: str,
        rpc: Sequence[str],
        serve: Callable[[Procedures], Deferred[ProcedureServer]],
    ) -> list[Deferred[Any]]:
        """Answer calls from ``rpc_api``, unless the class has a method of its own for them."""
        method = getattr(self, own, None)
        if method is not None:
            return [self.subscribe_pattern_with_callback(topic, method) for topic in rpc]
        serving = serve(RpcApiProcedures(self.rpc_api, type(self).__doc__ or ""))
        return [serving.addCallback(lambda server: self._use.keep(server, server.stop))]


class BaseModule(_Program):
    """A module: its messages and calls come to the methods of a derived class.

    Calls are answered from ``rpc_api``, each exactly once, an unknown one with an error. A callback
    runs in the reactor's thread and may return a Deferred; meanwhile other calls are answered. A
    class that defines ``notify_module_rpc(pattern, channel, message)`` gets them there, and answers
    them itself.

    Args:
        module_name: as in its topics.
        config: its ``redis_config`` is as of `RedisClient`.
    """

    def __init__(self, module_name: str, config: Any) -> None:
        self.module_name = module_name
        self.config = config
        self.rpc_api = {}
        super().__init__(config.redis_config)
        self.logger = LoggingClient(config.redis_config, f"LoggingClient_{type(self).__name__}")

    def get_name(self) -> str:
        """Its name."""
        return self.module_name

    def event_topic_name(self) -> str:
        """Topic of the events that it publishes."""
        return topics.module_events(self.module_name)

    def source_name(self) -> str:
        """Topic of the messages that it receives."""
        return topics.module_messages(self.module_name)

    def setup_module_pubsub(self) -> None:
        """For derived classes: subscribe what else is wanted."""

    def notify_module_messages(self, pattern: str, channel: str, message: bytes) -> None:
        """For derived classes: a ``TeraModuleMessage`` to this module has come."""

    def redisConnectionMade(self) -> None:
        """Serve and subscribe, once Redis is there."""
        self.setup_rpc_interface()
        self.build_interface()
        self.setup_module_pubsub()

    def build_interface(self) -> Deferred[Any]:
        """Listen for messages and calls; fires when Redis has acknowledged both."""
        listening = self.subscribe_pattern_with_callback(
            self.source_name(), self.notify_module_messages
        )
        serving = self._answer(
            "notify_module_rpc",
            [topics.module_rpc(self.module_name)],
            partial(self.bus.serve_module, self.module_name),
        )
        return gatherResults([listening, *serving], consumeErrors=True)

    def create_tera_message(self, dest: str = "", seq: int = 0) -> TeraModuleMessage:
        """An envelope for messages from this module."""
        message = self.create_module_message(f"module.{self.module_name}", dest)
        message.head.seq = seq
        return message

    def create_module_message(self, src: str, dest: str) -> TeraModuleMessage:
        """An envelope for messages to a topic."""
        return module_message(src, dest, [])

    def send_module_message(self, message: TeraModuleMessage) -> Any:
        """Publish an envelope on the topic that stands in it."""
        return self.publish(message.head.dest, message)

    def send_user_disconnect_module_message(self, user_uuid: str) -> Any:
        """Have the websockets of a user closed."""
        return self._disconnect(user_uuid)

    def send_participant_disconnect_module_message(self, participant_uuid: str) -> Any:
        """Have the websockets of a participant closed."""
        return self._disconnect(participant_uuid)

    def send_device_disconnect_module_message(self, device_uuid: str) -> Any:
        """Have the websockets of a device closed."""
        return self._disconnect(device_uuid)

    def _disconnect(self, uuid: str) -> Any:
        command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        dest = topics.disconnect_command(uuid)
        return self.send_module_message(module_message(self.source_name(), dest, [command]))


class ServiceOpenTera(_Program):
    """A service, as far as the bus goes: it makes no HTTP requests and signs no tokens.

    It listens under its key and its UUID, and answers calls as `BaseModule` does; a method that has
    them instead is called ``notify_service_rpc``.

    Args:
        config_man: its ``redis_config`` is as of `RedisClient`; ``service_config`` and
            ``backend_config`` are kept.
        service_info: ``service_key`` and ``service_uuid``, and whatever else.
    """

    def __init__(self, config_man: Any, service_info: Mapping[str, Any]) -> None:
        self.config_man = config_man
        self.config = config_man.service_config
        self.service_info = service_info
        self.service_uuid: str = service_info["service_uuid"]
        backend = getattr(config_man, "backend_config", {})
        self.backend_hostname = backend.get("hostname", "")
        self.backend_port = backend.get("port", 0)
        self.rpc_api = {}
        super().__init__(config_man.redis_config)
        self.logger = LoggingClient(config_man.redis_config, f"LoggingClient_{type(self).__name__}")

    def register_to_events(self) -> Any:
        """For derived classes: subscribe what else is wanted."""

    def notify_service_messages(self, pattern: str, channel: str, message: bytes) -> None:
        """For derived classes: a ``TeraModuleMessage`` to this service has come."""

    def redisConnectionMade(self) -> None:
        """Serve and subscribe, once Redis is there."""
        self.setup_rpc_interface()
        self.build_interface()
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
        serving = self._answer(
            "notify_service_rpc",
            [topics.service_rpc(name) for name in names],
            partial(self.bus.serve_service, key, uuid=self.service_uuid),
        )
        return gatherResults([*listening, *serving], consumeErrors=True)

    def create_tera_message(self, src: str = "", dest: str = "", seq: int = 0) -> TeraModuleMessage:
        """An envelope for messages to a topic."""
        message = module_message(src, dest, [])
        message.head.seq = seq
        return message

    def send_tera_message(self, event: Message, src: str, topic: str) -> Any:
        """Publish a message in its envelope."""
        message = self.create_tera_message(src, topic)
        message.data.append(pack(event))
        return self.publish(topic, message)
