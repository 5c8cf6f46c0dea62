"""Every error that a user of the bus can meet, as one tree under `BusError`.

Mistakes of the program (`InvalidTopic`, `InvalidArgument`) are raised at once, before anything is
sent; what the world did fails the Deferred.
"""

from __future__ import annotations

from typing import Any, TypeVar

Error = TypeVar("Error", bound=BaseException)


class PortableError(Exception):
    """An exception that survives pickle, copy and deepcopy, whatever its constructor takes.

    Python itself would call the constructor again, with nothing but the message.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args), vars(self)


def _restored(kind: type[Error], arguments: tuple[Any, ...]) -> Error:
    """Make an exception without its constructor; its attributes follow."""
    return kind.__new__(kind, *arguments)


class BusError(PortableError):
    """Anything that the bus reports."""


class BusUnavailable(BusError):
    """Redis could not be reached in time; nothing was sent.

    Attributes:
        seconds: how long the command waited for the link; 0 when it did not.
    """

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class ConnectionLost(BusError):
    """The connection broke after a command was sent and before its reply came.

    The command may or may not have been executed; it is not repeated.
    """


class AuthenticationFailed(BusError):
    """Redis refused the user or the password of the URL."""


class CommandFailed(BusError):
    """Redis answered a command with an error.

    Attributes:
        command: the command's name, such as ``GET``.
        code: the first word of Redis's error, such as ``WRONGTYPE``.
    """

    remedy = ""
    """What an operator can do about it."""

    def __init__(self, command: str, reply: str) -> None:
        remedy = f" ({self.remedy})" if self.remedy else ""
        super().__init__(f"Redis refused {command}: {reply}{remedy}")
        self.command = command
        self.code = reply.split(" ", 1)[0]


class WrongType(CommandFailed):
    """The variable holds a list, a hash or another type, and no string (``WRONGTYPE``)."""

    remedy = "use another name, or delete what is there"


class PermissionDenied(CommandFailed):
    """The user of the URL lacks a right (``NOPERM``).

    Attributes:
        needs: the missing right as an ACL rule: ``+get``, ``~name`` or ``&topic``; empty when
            Redis does not tell.
    """

    def __init__(self, command: str, reply: str, needs: str = "") -> None:
        if needs:
            self.remedy = f"the user needs the ACL rule {needs}"
        super().__init__(command, reply)
        self.needs = needs


class ReadOnlyReplica(CommandFailed):
    """Redis is a replica, and takes no writes (``READONLY``)."""

    remedy = "after a failover, a redis+sentinel:// URL finds the new primary"


class ServerLoading(CommandFailed):
    """Redis is still loading its data (``LOADING``)."""

    remedy = "try again later"


class PrimaryDown(CommandFailed):
    """Redis is a replica that has lost its primary, and may not serve old data (``MASTERDOWN``)."""

    remedy = "start its primary, or name one that runs"


class OutOfMemory(CommandFailed):
    """Redis has reached its ``maxmemory`` and may not evict anything (``OOM``)."""

    remedy = "raise maxmemory, or delete what is not needed"


class AlreadyServed(BusError):
    """Somebody answers on the topic already: another program, or another server of this bus.

    Attributes:
        topic: where it answers.
    """

    def __init__(self, message: str, *, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class InvalidTopic(BusError, ValueError):
    """A topic, or a name that would become part of one, is not of a topic's form."""


class InvalidArgument(BusError, TypeError, ValueError):
    """An argument cannot be used; nothing was sent."""


class CallError(BusError):
    """A call of a procedure did not give a value.

    Attributes:
        topic: the topic that was called.
        procedure: the name that was called.
    """

    def __init__(self, message: str, *, topic: str = "", procedure: str = "") -> None:
        super().__init__(message)
        self.topic = topic
        self.procedure = procedure


class NoResponder(CallError):
    """No program listens on the topic: Redis counted no receiver of the request."""


class CallTimeout(CallError):
    """No reply came in time; the procedure may have run, or may still.

    Attributes:
        seconds: the timeout that ran out.
    """

    def __init__(
        self, message: str, *, topic: str = "", procedure: str = "", seconds: float = 0.0
    ) -> None:
        super().__init__(message, topic=topic, procedure=procedure)
        self.seconds = seconds


class CallNotSent(CallTimeout, BusUnavailable):
    """The link was down until the call's timeout ran out; nothing was sent."""


class CallInterrupted(CallError):
    """The link to Redis broke while the call waited; the procedure may have run."""


class UnknownProcedure(CallError):
    """The server has no procedure of that name."""


class ArgumentsRejected(CallError):
    """The server refused the arguments; the procedure did not run."""


class ProcedureFailed(CallError):
    """The procedure raised an exception, or its result could not be sent."""


class Overloaded(CallError):
    """The server has as many calls in progress as it allows; the procedure did not run."""


class BadReply(CallError):
    """A reply to the call came, but not in a reply's form."""


class KeySupplierFailed(BusError):
    """The key supplier of a `GatewayClient` raised an error, or returned no session key."""


class HandshakeFailed(BusError):
    """A gateway was reached, and its websocket did not open.

    Attributes:
        status: HTTP status of the gateway's answer; 0 when there was none.
        retry_after: seconds until the gateway wants to see another attempt; 0 when it says nothing.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class WebSocketClosed(BusError):
    """A websocket was open, and ended.

    Attributes:
        code: the close code; 1006 when the connection broke.
        reason: the reason that came with the code.
    """

    def __init__(self, message: str, *, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Disconnected(WebSocketClosed):
    """The disconnect command has ended a `GatewayClient`; only its program can start it again."""


class ProcedureError(PortableError):
    """Raise this in a procedure to fail the call with a message that the caller may read.

    Of any other exception the caller learns only the name of its class.
    """


class InReactorThread(BusError, RuntimeError):
    """A call that blocks was made in the reactor's thread, which would wait for itself for ever."""


class InstalledTooLate(BusError, ImportError):
    """`install` was called after the program had imported what it replaces."""


class ForkedProcess(BusError, RuntimeError):
    """The process was forked after its reactor had started; the child has no reactor."""


class PatchedThreads(BusError, RuntimeError):
    """gevent or eventlet has replaced the threads of the process; the reactor needs a real one."""
