"""Remote procedure calls: a protobuf request on a topic, a JSON reply on the caller's channel.

    values       Python values <-> arguments of a request
    nesting      the levels that a result may have
    wire         requests and replies as bytes
    caller       calls, and which of them wait for a reply
    description  what a server says of itself
    signature    the arguments of a function as callers can give them
    methods      the methods of an object that callers may call
    procedures   what a server offers, declared by signatures
    limits       how much a server takes on, and how callers share it
    statistics   what servers count
    server       answers requests with procedures
    discovery    which servers listen now
    proxy        a server's procedures as methods, and as a stub for editors

Source: docs/reference/wire.md.
"""

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
from opentera_twisted.rpc.values import ArgumentValue
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
