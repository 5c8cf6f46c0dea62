"""All errors of the bus, as one tree under `BusError`.

A mistake of the program (`InvalidTopic`, `InvalidArgument`) is raised at once, before anything is
sent. Any other error fails the Deferred.
"""

from __future__ import annotations

from typing import Any, TypeVar

Error = TypeVar("Error", bound=BaseException)


class PortableError(Exception):
    """An exception that survives pickle, copy and deepcopy, whatever arguments its constructor has.

    Python itself would call the constructor again with the message as the only argument.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args), vars(self)


def _restored(kind: type[Error], arguments: tuple[Any, ...]) -> Error:
    """Create an exception without its constructor; pickle then restores its attributes."""
    return kind.__new__(kind, *arguments)


class BusError(PortableError):
    """Base class of all errors of the bus."""


class BusUnavailable(BusError):
    """Redis was unreachable until the timeout; nothing was sent.

    Attributes:
        seconds: time for which the command waited for the link; 0 when it did not wait.
    """

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class ConnectionLost(BusError):
    """The connection broke after a command was sent and before its reply arrived.

    Redis may have executed the command. The bus does not repeat it.
    """


class AuthenticationFailed(BusError):
    """Redis refused the user or the password of the URL."""


class CommandFailed(BusError):
    """Redis answered a command with an error.

    Attributes:
        command: name of the command, such as ``GET``.
        code: first word of Redis's error, such as ``WRONGTYPE``.
        reply: Redis's error.
    """

    remedy = ""
    """Advice to the operator; empty when there is none."""

    def __init__(self, command: str, reply: str) -> None:
        remedy = f" ({self.remedy})" if self.remedy else ""
        super().__init__(f"Redis refused {command}: {reply}{remedy}")
        self.command = command
        self.code = reply.split(" ", 1)[0]
        self.reply = reply


class WrongType(CommandFailed):
    """The variable holds a list, a hash or another type instead of a string (``WRONGTYPE``)."""

    remedy = "use another name, or delete the present value"


class PermissionDenied(CommandFailed):
    """The user of the URL lacks a right (``NOPERM``).

    Attributes:
        needs: missing right as an ACL rule: ``+get``, ``~name`` or ``&topic``; empty when Redis
            does not name it.
    """

    def __init__(self, command: str, reply: str, needs: str = "") -> None:
        if needs:
            self.remedy = f"the user needs the ACL rule {needs}"
        super().__init__(command, reply)
        self.needs = needs


class ReadOnlyReplica(CommandFailed):
    """Redis is a replica, which rejects writes (``READONLY``)."""

    remedy = "after a failover, a redis+sentinel:// URL finds the new primary"


class ServerLoading(CommandFailed):
    """Redis is still loading its data (``LOADING``)."""

    remedy = "try again later"


class PrimaryDown(CommandFailed):
    """Redis is a replica without its primary and must not serve stale data (``MASTERDOWN``)."""

    remedy = "start its primary, or use a primary that is running"


class OutOfMemory(CommandFailed):
    """Redis has reached ``maxmemory`` and must not evict keys (``OOM``)."""

    remedy = "raise maxmemory, or delete unused keys"


class ClusterMode(CommandFailed):
    """Redis is a cluster, but the URL is of a single server (``MOVED`` or ``ASK``)."""

    remedy = "this Redis is a cluster: use a redis+cluster:// URL, or rediss+cluster:// with TLS"


class CrossSlot(CommandFailed):
    """The keys of one command belong to several slots of a cluster (``CROSSSLOT``)."""

    remedy = "give the keys a common hash tag, such as {a} in {a}b and {a}c, or send them apart"


class AlreadyServed(BusError):
    """Another program, or another server of this bus, already serves the topic.

    Attributes:
        topic: the topic that is already served.
    """

    def __init__(self, message: str, *, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class InvalidTopic(BusError, ValueError):
    """A topic, or a name that is part of a topic, has an invalid form."""


class InvalidArgument(BusError, TypeError, ValueError):
    """An argument is invalid; nothing was sent."""


class NotOnCluster(InvalidArgument):
    """The operation is not available on a Redis Cluster."""


class CallError(BusError):
    """A call of a procedure failed.

    Attributes:
        topic: topic of the request.
        procedure: name of the procedure.
    """

    def __init__(self, message: str, *, topic: str = "", procedure: str = "") -> None:
        super().__init__(message)
        self.topic = topic
        self.procedure = procedure


class NoResponder(CallError):
    """No program listens on the topic: Redis counted no receiver of the request."""


class CallTimeout(CallError):
    """No reply arrived in time; the procedure may have run, or may still run.

    Attributes:
        seconds: the timeout that expired.
    """

    def __init__(
        self, message: str, *, topic: str = "", procedure: str = "", seconds: float = 0.0
    ) -> None:
        super().__init__(message, topic=topic, procedure=procedure)
        self.seconds = seconds


class CallNotSent(CallTimeout, BusUnavailable):
    """The link was down until the call's timeout expired; nothing was sent."""


class CallInterrupted(CallError):
    """The link to Redis broke while the call was pending; the procedure may have run."""


class UnknownProcedure(CallError):
    """The server has no procedure of that name."""


class ArgumentsRejected(CallError):
    """The server rejected the arguments; the procedure did not run."""


class ProcedureFailed(CallError):
    """The procedure raised an exception, or its result could not be sent."""


class Overloaded(CallError):
    """The server already runs as many calls as its limits allow; the procedure did not run."""


class BadReply(CallError):
    """The reply to the call has an invalid form."""


class KeySupplierFailed(BusError):
    """The key supplier of a `GatewayClient` raised an error, or returned no session key."""


class HandshakeFailed(BusError):
    """The gateway was reached, but rejected the websocket handshake.

    Attributes:
        status: HTTP status of the gateway's answer; 0 without an answer.
        retry_after: seconds until the gateway accepts another attempt; 0 when it gives no time.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class WebSocketClosed(BusError):
    """An open websocket was closed.

    Attributes:
        code: the close code; 1006 when the connection broke.
        reason: the reason sent with the code.
    """

    def __init__(self, message: str, *, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Disconnected(WebSocketClosed):
    """The disconnect command closed a `GatewayClient`; only its program can start it again."""


class ProcedureError(PortableError):
    """Raise this in a procedure to fail the call with a message for the caller.

    For any other exception, the caller receives only the name of its class.
    """


class InReactorThread(BusError, RuntimeError):
    """A blocking call was made in the reactor's thread, where it would deadlock."""


class InstalledTooLate(BusError, ImportError):
    """`install` was called after the program had imported the modules that it replaces."""


class ForkedProcess(BusError, RuntimeError):
    """The process was forked after its reactor had started; the child has no reactor."""


class PatchedThreads(BusError, RuntimeError):
    """gevent or eventlet has replaced the process's threads; the reactor needs a real thread."""
