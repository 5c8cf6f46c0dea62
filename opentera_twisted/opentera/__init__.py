"""The names that existing OpenTera programs import, on the connections of `Bus`.

names          names of variables, modules and topics
threads        calling thread of a program, and calls into the reactor's thread
sync_commands  commands before the reactor runs
client         `RedisClient`: variables, publishing, subscriptions
calls          `RedisRPCClient`: blocking calls, which return None on an error
logs           `LoggingClient`: the lists of log messages
rpc_api        procedures of an ``rpc_api``
modules        `BaseModule` and `ServiceOpenTera`
plain          redis-py, for ``RedisClient.redis``
moving         `install`: all of these under OpenTera's own names
"""

from opentera_twisted.opentera.calls import RedisRPCClient
from opentera_twisted.opentera.client import RedisClient
from opentera_twisted.opentera.logs import LoggingClient
from opentera_twisted.opentera.modules import BaseModule, ServiceOpenTera
from opentera_twisted.opentera.moving import install
from opentera_twisted.opentera.names import (
    ModuleNames,
    RedisVars,
    create_module_event_topic_from_name,
    create_module_message_topic_from_name,
)

__all__ = [
    "BaseModule",
    "LoggingClient",
    "ModuleNames",
    "RedisClient",
    "RedisRPCClient",
    "RedisVars",
    "ServiceOpenTera",
    "create_module_event_topic_from_name",
    "create_module_message_topic_from_name",
    "install",
]
