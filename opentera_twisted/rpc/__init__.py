"""Remote procedure calls: protobuf requests on a topic, JSON replies to the caller's reply topic.

    argument_types  the types of arguments: Python values <-> arguments of a request
    nesting      limit on the nesting of a result
    wire         requests and replies as bytes
    caller       pending calls
    description  a server's description of itself
    signature    arguments of a function, as callers can pass them
    methods      methods of an object that callers may call
    procedures   procedures of a server, declared by signatures
    limits       limits of a server, and fair shares of callers
    statistics   counts of servers
    server       serves requests with procedures
    discovery    servers that listen now
    proxy        procedures of a server as methods, and as a stub for editors

Source: docs/reference/wire.md.
"""

from opentera_twisted.rpc.argument_types import ArgumentValue
from opentera_twisted.rpc.caller import CALL_TIMEOUT, OUTCOMES, Answer, Caller
from opentera_twisted.rpc.description import (
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.discovery import Listening, describe, services
from opentera_twisted.rpc.limits import DEFAULT_LIMITS, Limits
from opentera_twisted.rpc.procedures import Procedures
from opentera_twisted.rpc.proxy import Proxy, stub
from opentera_twisted.rpc.server import ProcedureServer
from opentera_twisted.rpc.statistics import SERVED_OUTCOMES, Served
from opentera_twisted.rpc.wire import Json

__all__ = [
    "CALL_TIMEOUT",
    "DEFAULT_LIMITS",
    "OUTCOMES",
    "SERVED_OUTCOMES",
    "Answer",
    "ArgumentDescription",
    "ArgumentValue",
    "Caller",
    "Description",
    "Json",
    "Limits",
    "Listening",
    "ProcedureDescription",
    "ProcedureServer",
    "Procedures",
    "Proxy",
    "Served",
    "describe",
    "services",
    "stub",
]
