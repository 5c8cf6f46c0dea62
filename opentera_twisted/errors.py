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
    """Base class of all errors of the bus.

    Example:
        >>> try:
        ...     await bus.call_service("Nobody", "add", 1, 2)
        ... except BusError as error:
        ...     print(type(error).__name__)
        NoResponder
    """


class BusUnavailable(BusError):
    """Redis was unreachable until the timeout; nothing was sent.

    Attributes:
        seconds: time for which the command waited for the link; 0 when it did not wait.

    Example:
        >>> bus.disconnect()
        >>> reading = bus.variables.get("name")
        >>> bus.clock.advance(10)
        >>> await reading
        Traceback (most recent call last):
        opentera_twisted.errors.BusUnavailable: no link for 10 seconds to Redis at ...
    """

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class ConnectionLost(BusError):
    """The connection broke after a command was sent and before its reply arrived.

    Redis may have executed the command. The bus does not repeat it.

    Example:
        >>> try:
        ...     await bus.variables.set("name", "value")
        ... except ConnectionLost:  # it may be written
        ...     await bus.variables.set("name", "value")
        True
    """


class AuthenticationFailed(BusError):
    """Redis refused the user or the password of the URL.

    Example:
        >>> try:
        ...     await bus.connected(timeout=10)
        ... except BusUnavailable as error:
        ...     if isinstance(error.__cause__, AuthenticationFailed):
        ...         print("wrong password")
    """


class CommandFailed(BusError):
    """Redis answered a command with an error.

    Attributes:
        command: name of the command, such as ``GET``.
        code: first word of Redis's error, such as ``WRONGTYPE``.
        reply: Redis's error.

    Example:
        >>> await bus.variables.set("name", "text")
        True
        >>> await bus.redis.incr("name")
        Traceback (most recent call last):
        opentera_twisted.errors.CommandFailed: Redis refused INCRBY: ERR value is not an integer ...
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
    """The variable holds a list, a hash or another type instead of a string (``WRONGTYPE``).

    Example:
        >>> await bus.redis.rpush("list", "item")
        1
        >>> await bus.variables.get("list")
        Traceback (most recent call last):
        opentera_twisted.errors.WrongType: Redis refused GET: WRONGTYPE ...
    """

    remedy = "use another name, or delete the present value"


class PermissionDenied(CommandFailed):
    """The user of the URL lacks a right (``NOPERM``).

    Attributes:
        needs: missing right as an ACL rule: ``+get``, ``~name`` or ``&topic``; empty when Redis
            does not name it.

    Example:
        >>> error = PermissionDenied("GET", "NOPERM no right to run the command", needs="+get")
        >>> print(error)
        Redis refused GET: NOPERM no right to run the command (the user needs the ACL rule +get)
    """

    def __init__(self, command: str, reply: str, needs: str = "") -> None:
        if needs:
            self.remedy = f"the user needs the ACL rule {needs}"
        super().__init__(command, reply)
        self.needs = needs


class ReadOnlyReplica(CommandFailed):
    """Redis is a replica, which rejects writes (``READONLY``).

    Example:
        >>> print(ReadOnlyReplica("SET", "READONLY no writes against a replica"))
        Redis refused SET: READONLY ... (after a failover, a redis+sentinel:// URL finds the new ...
    """

    remedy = "after a failover, a redis+sentinel:// URL finds the new primary"


class ServerLoading(CommandFailed):
    """Redis is still loading its data (``LOADING``).

    Example:
        >>> print(ServerLoading("GET", "LOADING the dataset in memory"))
        Redis refused GET: LOADING the dataset in memory (try again later)
    """

    remedy = "try again later"


class PrimaryDown(CommandFailed):
    """Redis is a replica without its primary and must not serve stale data (``MASTERDOWN``).

    Example:
        >>> print(PrimaryDown("GET", "MASTERDOWN the link is down"))
        Redis refused GET: MASTERDOWN ... (start its primary, or use a primary that is running)
    """

    remedy = "start its primary, or use a primary that is running"


class OutOfMemory(CommandFailed):
    """Redis has reached ``maxmemory`` and must not evict keys (``OOM``).

    Example:
        >>> print(OutOfMemory("SET", "OOM used memory > 'maxmemory'"))
        Redis refused SET: OOM used memory > 'maxmemory' (raise maxmemory, or delete unused keys)
    """

    remedy = "raise maxmemory, or delete unused keys"


class ClusterMode(CommandFailed):
    """Redis is a cluster, but the URL is of a single server (``MOVED`` or ``ASK``).

    Example:
        >>> error = ClusterMode("GET", "MOVED 5798 127.0.0.1:7001")
        >>> error.code
        'MOVED'
    """

    def __init__(self, command: str, reply: str) -> None:
        _, _, node = reply.rpartition(" ")
        where = node if node.rpartition(":")[0].strip("?") else "HOST:PORT"
        self.remedy = (
            f"this Redis is a cluster: use the URL redis+cluster://{where}, "
            "or rediss+cluster:// with TLS"
        )
        super().__init__(command, reply)


class CrossSlot(CommandFailed):
    """The keys of one command belong to several slots of a cluster (``CROSSSLOT``).

    Example:
        >>> error = CrossSlot("DEL", "CROSSSLOT keys in different slots")
        >>> error.command
        'DEL'
    """

    remedy = "give the keys a common hash tag, such as {a} in {a}b and {a}c, or send them apart"


class AlreadyServed(BusError):
    """Another program, or another server of this bus, already serves the topic.

    Attributes:
        topic: the topic that is already served.

    Example:
        >>> await bus.serve_service("Sum", Procedures())
        Traceback (most recent call last):
        opentera_twisted.errors.AlreadyServed: ...service.Sum.rpc...
    """

    def __init__(self, message: str, *, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class InvalidTopic(BusError, ValueError):
    """A topic, or a name that is part of a topic, has an invalid form.

    Example:
        >>> await bus.subscribe("service.*.events", print)
        Traceback (most recent call last):
        opentera_twisted.errors.InvalidTopic: ...
    """


class InvalidArgument(BusError, TypeError, ValueError):
    """An argument is invalid; nothing was sent.

    Example:
        >>> await bus.call_service("Sum", "add", [1, 2])
        Traceback (most recent call last):
        opentera_twisted.errors.InvalidArgument: ...
    """


class NotOnCluster(InvalidArgument):
    """The operation is not available on a Redis Cluster.

    Example:
        >>> cluster = Bus("redis+cluster://127.0.0.1:7000")
        >>> await cluster.subscribe_pattern("service.*", print)
        Traceback (most recent call last):
        opentera_twisted.errors.NotOnCluster: ...
    """


class CallError(BusError):
    """A call of a procedure failed.

    Attributes:
        topic: topic of the request.
        procedure: name of the procedure.

    Example:
        >>> try:
        ...     await bus.call_service("Nobody", "add", 1, 2)
        ... except CallError as error:
        ...     print(error.topic, error.procedure)
        service.Nobody.rpc add
    """

    def __init__(self, message: str, *, topic: str = "", procedure: str = "") -> None:
        super().__init__(message)
        self.topic = topic
        self.procedure = procedure


class NoResponder(CallError):
    """No program listens on the topic: Redis counted no receiver of the request.

    Example:
        >>> await bus.call_service("Nobody", "add", 1, 2)
        Traceback (most recent call last):
        opentera_twisted.errors.NoResponder: ...
    """


class CallTimeout(CallError):
    """No reply arrived in time; the procedure may have run, or may still run.

    Attributes:
        seconds: the timeout that expired.

    Example:
        >>> silent = await bus.subscribe("service.Silent.rpc", lambda request: None)
        >>> call = bus.call_service("Silent", "add", 1, 2, timeout=5)
        >>> bus.clock.advance(5)
        >>> await call
        Traceback (most recent call last):
        opentera_twisted.errors.CallTimeout: ...
    """

    def __init__(
        self, message: str, *, topic: str = "", procedure: str = "", seconds: float = 0.0
    ) -> None:
        super().__init__(message, topic=topic, procedure=procedure)
        self.seconds = seconds


class CallNotSent(CallTimeout, BusUnavailable):
    """The link was down until the call's timeout expired; nothing was sent.

    Example:
        >>> bus.disconnect()
        >>> call = bus.call_service("Sum", "add", 1, 2, timeout=5)
        >>> bus.clock.advance(5)
        >>> await call
        Traceback (most recent call last):
        opentera_twisted.errors.CallNotSent: ...
    """


class CallInterrupted(CallError):
    """The link to Redis broke while the call was pending; the procedure may have run.

    Example:
        >>> silent = await bus.subscribe("service.Silent.rpc", lambda request: None)
        >>> call = bus.call_service("Silent", "add", 1, 2)
        >>> bus.disconnect()
        >>> await call
        Traceback (most recent call last):
        opentera_twisted.errors.CallInterrupted: ...
    """


class UnknownProcedure(CallError):
    """The server has no procedure of that name.

    Example:
        >>> await bus.call_service("Sum", "subtract", 1, 2)
        Traceback (most recent call last):
        opentera_twisted.errors.UnknownProcedure: ...
    """


class ArgumentsRejected(CallError):
    """The server rejected the arguments; the procedure did not run.

    Example:
        >>> await bus.call_service("Sum", "add", "one")
        Traceback (most recent call last):
        opentera_twisted.errors.ArgumentsRejected: ...
    """


class ProcedureFailed(CallError):
    """The procedure raised an exception, or its result could not be sent.

    Example:
        >>> procedures = Procedures()
        >>> @procedures.expose
        ... def divide(a: int, b: int) -> float:
        ...     return a / b
        >>> server = await bus.serve_service("Division", procedures)
        >>> await bus.call_service("Division", "divide", 1, 0)
        Traceback (most recent call last):
        opentera_twisted.errors.ProcedureFailed: ...ZeroDivisionError
    """


class Overloaded(CallError):
    """The server already runs as many calls as its limits allow; the procedure did not run.

    Example:
        >>> error = Overloaded("the server runs 1000 calls", topic="service.Sum.rpc")
        >>> error.topic
        'service.Sum.rpc'
    """


class BadReply(CallError):
    """The reply to the call has an invalid form.

    Example:
        >>> error = BadReply("the reply is not JSON", topic="service.Sum.rpc", procedure="add")
        >>> isinstance(error, CallError)
        True
    """


class KeySupplierFailed(BusError):
    """The key supplier of a `GatewayClient` raised an error, or returned no session key.

    Example:
        >>> isinstance(KeySupplierFailed("the key supplier returned None"), BusError)
        True
    """


class HandshakeFailed(BusError):
    """The gateway was reached, but rejected the websocket handshake.

    Attributes:
        status: HTTP status of the gateway's answer; 0 without an answer.
        retry_after: seconds until the gateway accepts another attempt; 0 when it gives no time.

    Example:
        >>> error = HandshakeFailed("the gateway is busy", status=429, retry_after=60)
        >>> error.status, error.retry_after
        (429, 60)
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

    Example:
        >>> error = WebSocketClosed("the gateway restarts", code=1001)
        >>> error.code
        1001
    """

    def __init__(self, message: str, *, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Disconnected(WebSocketClosed):
    """The disconnect command closed a `GatewayClient`; only its program can start it again.

    Example:
        >>> error = Disconnected("closed by command", code=1008)
        >>> isinstance(error, WebSocketClosed)
        True
    """


class ProcedureError(PortableError):
    """Raise this in a procedure to fail the call with a message for the caller.

    For any other exception, the caller receives only the name of its class.

    Example:
        >>> procedures = Procedures()
        >>> @procedures.expose
        ... def find(name: str) -> str:
        ...     raise ProcedureError(f"no file {name}")
        >>> server = await bus.serve_service("Files", procedures)
        >>> await bus.call_service("Files", "find", "a.txt")
        Traceback (most recent call last):
        opentera_twisted.errors.ProcedureFailed: ...no file a.txt
    """


class InReactorThread(BusError, RuntimeError):
    """A blocking call was made in the reactor's thread, where it would deadlock.

    Example:
        >>> from opentera_twisted.blocking import BlockingBus
        >>> BlockingBus("redis://127.0.0.1:6379/0").publish("topic", "message")
        Traceback (most recent call last):
        opentera_twisted.errors.InReactorThread: ...
    """


class NotInReactorThread(BusError, RuntimeError):
    """A `Bus` was used in another thread than the reactor's.

    Example:
        >>> from twisted.internet.threads import deferToThread
        >>> await deferToThread(Bus("redis://127.0.0.1:6379/0").publish, "topic", "message")
        Traceback (most recent call last):
        opentera_twisted.errors.NotInReactorThread: a Bus works only in the reactor's thread...
    """


class InstalledTooLate(BusError, ImportError):
    """`install` was called after the program had imported the modules that it replaces."""


class ForkedProcess(BusError, RuntimeError):
    """The process was forked after its reactor had started; the child has no reactor.

    Example:
        >>> try:
        ...     await bus.publish("topic", "message")
        ... except ForkedProcess:
        ...     print("make the bus after the fork")
        0
    """


class PatchedThreads(BusError, RuntimeError):
    """gevent or eventlet has replaced the process's threads; the reactor needs a real thread.

    Example:
        >>> isinstance(PatchedThreads("threads are greenlets"), RuntimeError)
        True
    """
