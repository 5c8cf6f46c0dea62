"""Remote procedure calls: a protobuf request on a topic, a JSON reply on the caller's channel.

    values      Python values <-> arguments of a request
    wire        requests and replies as bytes
    caller      calls, and which of them wait for a reply
    procedures  what a server offers, declared by signatures
    server      answers requests with procedures

Source: wire contract, section 4.
"""

from opentera_twisted.rpc.caller import CALL_TIMEOUT, Caller
from opentera_twisted.rpc.procedures import Procedures
from opentera_twisted.rpc.server import MAX_CONCURRENT, ProcedureServer
from opentera_twisted.rpc.values import ArgumentValue
from opentera_twisted.rpc.wire import Json

__all__ = [
    "CALL_TIMEOUT",
    "MAX_CONCURRENT",
    "ArgumentValue",
    "Caller",
    "Json",
    "ProcedureServer",
    "Procedures",
]
