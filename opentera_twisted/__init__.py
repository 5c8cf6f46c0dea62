"""A Twisted bus for OpenTera, and for any set of Python services around one Redis.

What a program needs most is here: `Bus`, `Procedures`, `SessionKeys` and the errors.
"""

from opentera_twisted.bus import Bus
from opentera_twisted.errors import (
    ArgumentsRejected,
    AuthenticationFailed,
    BadReply,
    BusError,
    BusUnavailable,
    CallError,
    CallInterrupted,
    CallNotSent,
    CallTimeout,
    CommandFailed,
    ConnectionLost,
    InvalidArgument,
    InvalidTopic,
    NoResponder,
    OutOfMemory,
    Overloaded,
    PermissionDenied,
    PrimaryDown,
    ProcedureError,
    ProcedureFailed,
    ReadOnlyReplica,
    ServerLoading,
    UnknownProcedure,
    WrongType,
)
from opentera_twisted.pubsub import Delivery, Subscription
from opentera_twisted.rpc import Procedures, ProcedureServer
from opentera_twisted.sessions import Identity, SessionKeys

__all__ = [
    "ArgumentsRejected",
    "AuthenticationFailed",
    "BadReply",
    "Bus",
    "BusError",
    "BusUnavailable",
    "CallError",
    "CallInterrupted",
    "CallNotSent",
    "CallTimeout",
    "CommandFailed",
    "ConnectionLost",
    "Delivery",
    "Identity",
    "InvalidArgument",
    "InvalidTopic",
    "NoResponder",
    "OutOfMemory",
    "Overloaded",
    "PermissionDenied",
    "PrimaryDown",
    "ProcedureError",
    "ProcedureFailed",
    "ProcedureServer",
    "Procedures",
    "ReadOnlyReplica",
    "ServerLoading",
    "SessionKeys",
    "Subscription",
    "UnknownProcedure",
    "WrongType",
]
