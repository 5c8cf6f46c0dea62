"""An existing OpenTera module, moved by changing its imports.

    python examples/existing_module.py [PORT]

Before, the imports were

    from opentera.modules.BaseModule import BaseModule, ModuleNames
    from opentera.modules.BaseModule import create_module_event_topic_from_name

Nothing else has changed. PORT is the port of Redis.
"""

import sys
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor

from opentera_twisted.messages import TeraEvent, UserEvent
from opentera_twisted.opentera import (
    BaseModule,
    ModuleNames,
    create_module_event_topic_from_name,
)


class OnlineUsersModule(BaseModule):
    """A module that tracks online users and answers calls for them."""

    def __init__(self, config: Any) -> None:
        BaseModule.__init__(self, "ExampleService.OnlineUsersModule", config)
        self.online: set[str] = set()

    def setup_module_pubsub(self) -> None:
        """Subscribe to the events of the user manager."""
        subscribed = self.subscribe_pattern_with_callback(
            create_module_event_topic_from_name(ModuleNames.USER_MANAGER_MODULE_NAME),
            self.notify_user_manager_event,
        )
        subscribed.addCallback(lambda _: print("listening; end with Ctrl-C", flush=True))

    def setup_rpc_interface(self) -> None:
        """Declare the procedure that other programs may call."""
        self.rpc_api["online_users"] = {
            "args": [],
            "returns": "list",
            "callback": self.online_users_rpc_callback,
        }

    def online_users_rpc_callback(self, *args: Any, **kwargs: Any) -> list[str]:
        """Return the UUIDs of the online users."""
        return sorted(self.online)

    def notify_user_manager_event(self, pattern: str, channel: str, message: bytes) -> None:
        """Update the online users."""
        for packed in TeraEvent.FromString(message).events:
            event = UserEvent()
            if not packed.Unpack(event):
                continue
            if event.type == UserEvent.USER_CONNECTED:
                self.online.add(event.user_uuid)
            elif event.type == UserEvent.USER_DISCONNECTED:
                self.online.discard(event.user_uuid)
            self.logger.log_info(self.module_name, "online", len(self.online))


if __name__ == "__main__":
    redis_config = {
        "hostname": "127.0.0.1",
        "port": int(sys.argv[1]) if len(sys.argv) > 1 else 6379,
        "db": 0,
        "username": "",
        "password": "",
    }
    module = OnlineUsersModule(SimpleNamespace(redis_config=redis_config))
    reactor.run()
