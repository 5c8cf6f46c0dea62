"""A module and a service on OpenTera's own base classes: server.py PORT."""

import sys
from types import SimpleNamespace
from typing import Any

import opentera.messages.python as messages
from opentera.modules.BaseModule import BaseModule
from opentera.services.ServiceOpenTera import ServiceOpenTera
from twisted.internet import reactor

CONFIG = SimpleNamespace(
    redis_config={
        "hostname": "127.0.0.1",
        "port": int(sys.argv[1]),
        "db": 0,
        "username": "",
        "password": "",
    },
    service_config={"name": "TheirService", "ServiceUUID": "their-uuid"},
    backend_config={"hostname": "127.0.0.1", "port": 1},
)


def echo(*arguments: Any) -> list[Any]:
    """Return types and values of the arguments; JSON has no bytes."""
    return [
        [type(argument).__name__, argument.hex() if isinstance(argument, bytes) else argument]
        for argument in arguments
    ]


def fail(*arguments: Any) -> None:
    """Raise an exception."""
    raise ValueError("hush")


def nothing(*arguments: Any) -> None:
    """Return None."""


def long(characters: int) -> str:
    """Return a long text."""
    return "é" * characters


class Procedures:
    """Common procedures of module and service."""

    def add_procedures(self) -> None:
        """Put the procedures into ``rpc_api``."""
        for function in (echo, fail, nothing, long, self.read, self.tell, self.stored):
            self.rpc_api[function.__name__] = {"args": [], "returns": "", "callback": function}

    def read(self, name: str) -> str:
        """Read a variable in the reactor's thread."""
        return self.redisGet(name).decode()

    def stored(self, name: str) -> bool:
        """Write a variable and log it."""
        self.redisSet(name, "stored", ex=100)
        self.logger.log_info("their program", "stored", name)
        return True

    def tell(self, topic: str) -> bool:
        """Publish an event and log it."""
        self.send_event_message(messages.UserEvent(user_uuid="somebody"), topic)
        self.logger.log_warning("their program", "told")
        return True


class TheirModule(Procedures, BaseModule):
    """A module."""

    def __init__(self) -> None:
        BaseModule.__init__(self, "TheirModule", CONFIG)

    def setup_rpc_interface(self) -> None:
        """Serve the procedures."""
        self.add_procedures()

    def notify_module_messages(self, pattern: str, channel: str, message: bytes) -> None:
        """Send each message back in an event."""
        received = messages.TeraModuleMessage.FromString(message)
        event = messages.UserEvent()
        received.data[0].Unpack(event)
        self.send_event_message(event, self.event_topic_name())


class TheirService(Procedures, ServiceOpenTera):
    """A service."""

    def __init__(self) -> None:
        info = {"service_key": "TheirService", "service_uuid": "their-uuid"}
        ServiceOpenTera.__init__(self, CONFIG, info)

    def setup_rpc_interface(self) -> None:
        """Serve the procedures, with those of every service."""
        super().setup_rpc_interface()
        self.add_procedures()


programs = [TheirModule(), TheirService()]
print("it has read its settings", flush=True)
reactor.run()
