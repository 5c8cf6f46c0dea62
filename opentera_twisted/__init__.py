"""A Twisted bus for OpenTera, and for any set of Python services around one Redis.

The package exports the main names: `Bus`, `Procedures`, `SessionKeys` and the errors.

Importing the package is cheap: each name is loaded from its module on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentera_twisted._internal.lazy import lazy

if TYPE_CHECKING:
    from opentera_twisted.bus import Bus
    from opentera_twisted.errors import (
        AlreadyServed,
        ArgumentsRejected,
        AuthenticationFailed,
        BadReply,
        BusError,
        BusUnavailable,
        CallError,
        CallInterrupted,
        CallNotSent,
        CallTimeout,
        ClusterMode,
        CommandFailed,
        ConnectionLost,
        CrossSlot,
        ForkedProcess,
        InReactorThread,
        InvalidArgument,
        InvalidTopic,
        NoResponder,
        NotInReactorThread,
        NotOnCluster,
        OutOfMemory,
        Overloaded,
        PatchedThreads,
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
    from opentera_twisted.rpc import (
        Answer,
        Description,
        Limits,
        Listening,
        Procedures,
        ProcedureServer,
        Proxy,
    )
    from opentera_twisted.sessions import Identity, SessionKeys

__all__ = [
    "AlreadyServed",
    "Answer",
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
    "ClusterMode",
    "CommandFailed",
    "ConnectionLost",
    "CrossSlot",
    "Delivery",
    "Description",
    "ForkedProcess",
    "Identity",
    "InReactorThread",
    "InvalidArgument",
    "InvalidTopic",
    "Limits",
    "Listening",
    "NoResponder",
    "NotInReactorThread",
    "NotOnCluster",
    "OutOfMemory",
    "Overloaded",
    "PatchedThreads",
    "PermissionDenied",
    "PrimaryDown",
    "ProcedureError",
    "ProcedureFailed",
    "ProcedureServer",
    "Procedures",
    "Proxy",
    "ReadOnlyReplica",
    "ServerLoading",
    "SessionKeys",
    "Subscription",
    "UnknownProcedure",
    "WrongType",
]

_MODULES: Final[Mapping[str, str]] = {
    "Answer": "rpc",
    "Bus": "bus",
    "Delivery": "pubsub",
    "Description": "rpc",
    "Identity": "sessions",
    "Limits": "rpc",
    "Listening": "rpc",
    "ProcedureServer": "rpc",
    "Procedures": "rpc",
    "Proxy": "rpc",
    "SessionKeys": "sessions",
    "Subscription": "pubsub",
}
"""Modules of the names that are not in ``errors``."""

if not TYPE_CHECKING:  # mypy would treat every name as existing
    __getattr__, __dir__ = lazy(globals(), __all__, _MODULES)
