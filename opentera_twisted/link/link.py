"""The interface of every link to Redis, whether to one server or to the nodes of a cluster."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusUnavailable, CommandFailed
from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.connection import State
from opentera_twisted.link.keyspaces import Keyspace
from opentera_twisted.link.observers import Observers
from opentera_twisted.link.protocol import Argument, Done
from opentera_twisted.link.statistics import ConnectionStatistics
from opentera_twisted.link.subscriptions import Name
from opentera_twisted.link.threads import thread_check
from opentera_twisted.link.waiting import too_many

COMMAND_TIMEOUT: Final = 10.0
"""Default seconds that a command waits for the link."""

MAX_WAITING: Final = 10_000
"""Default number of commands that may wait for the link."""


@frozen
class Script:
    """A Lua script that Redis runs atomically.

    Attributes:
        text: the script.
        keyspace: keyspace of its keys, which have other names on a cluster; None for keys that
            have the same name everywhere.
        sha1: name of the script at Redis.
    """

    text: str
    keyspace: Keyspace | None = None
    sha1: str = field(init=False)

    @sha1.default
    def _digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Everything:
    """All topics."""

    def __contains__(self, topic: object) -> bool:
        return True


EVERYTHING: Final[Container[bytes]] = _Everything()
"""All topics, as the scope of a gap."""


class Subscriptions(Protocol):
    """Subscriptions of a link: what the program wants, and what Redis has acknowledged."""

    @property
    def wanted(self) -> set[Name]:
        """Names that the program wants."""

    @property
    def acknowledged(self) -> set[Name]:
        """Names that Redis has acknowledged."""

    def is_wanted(self, name: Name) -> bool:
        """Return True if the program wants a name."""

    def want(self, *names: Name) -> Deferred[None]:
        """Want names.

        Returns:
            Fires when Redis has acknowledged each, across reconnections.

        Fails with:
            CommandFailed: Redis refused a name, which is tried again every few seconds.
            BusUnavailable: the link was stopped.
            CancelledError: a name was dropped first.
        """

    def drop(self, name: Name) -> Deferred[None]:
        """Drop a wanted name.

        Returns:
            Fires when no more messages arrive for it.
        """


class Link(ABC):
    """Connections to Redis that reconnect by themselves.

    Args:
        address: address of Redis.
        reactor: reactor to connect with; intervals follow its `clock_of`.
        name: name at Redis: ``<name>.client`` and ``<name>.subscriber`` (CLIENT SETNAME).
        max_waiting: commands and calls that may wait for the link; further ones fail at once.

    Attributes:
        reactor: reactor of the link.
        clock: clock for all intervals of the bus.
        check_thread: raises an error where a program must not use the link; see `thread_check`.
        subscriptions: wanted and acknowledged subscriptions.
        statistics: counts of each kind of connection, by ``client`` and ``subscriber``.
        gaps: number of times that subscriptions were restored after messages may have been missed.
        on_message: Observers of messages: pattern or None, channel, payload. They must not raise.
        on_read: Observers of the end of one read of messages, with True if it was as large as
            possible, so that more are waiting.
        on_invalidated: Observers of tracked variables: names that changed, or None for any.
        on_ready: Observers of the link becoming ready, each time.
        on_lost: Observers of the loss of a ready link, with its cause.
        on_refused: Observers of each failed attempt to connect, with its cause.
        on_stopped: Observers of the link's stop.
        on_interrupted: Observers of the beginning of a gap, with the topics concerned.
        on_resumed: Observers of the end of a gap, when the subscriptions of the topics concerned
            are restored.
    """

    _log = Logger()

    allows_patterns = True
    """True if programs can subscribe to patterns."""

    subscriptions: Subscriptions

    def __init__(
        self, address: RedisAddress, *, reactor: Any, name: str, max_waiting: int = MAX_WAITING
    ) -> None:
        self.address = address
        self.reactor = reactor
        self.clock = clock_of(reactor)
        self.check_thread = thread_check(reactor)
        self.statistics: Mapping[str, ConnectionStatistics] = {
            "client": ConnectionStatistics(),
            "subscriber": ConnectionStatistics(),
        }
        self.gaps = 0
        self.on_message: Observers[bytes | None, bytes, bytes] = Observers()
        self.on_read: Observers[bool] = Observers()
        self.on_invalidated: Observers[Sequence[bytes] | None] = Observers()
        self.on_ready: Observers[[]] = Observers()
        self.on_lost: Observers[Failure] = Observers()
        self.on_refused: Observers[Failure] = Observers()
        self.on_stopped: Observers[[]] = Observers()
        self.on_interrupted: Observers[Container[bytes]] = Observers()
        self.on_resumed: Observers[Container[bytes]] = Observers()
        self._name = re.sub(r"[^!-~]", "_", name)
        self._max_waiting = max_waiting
        self._waiting_for_ready: Waiters[None] = Waiters()
        self._stopped = False
        self._was_started = False
        self._last_cause = ""
        self._last_error: BaseException | None = None

    @property
    @abstractmethod
    def states(self) -> dict[str, State]:
        """State of each kind of connection, by ``client`` and ``subscriber``."""

    @property
    def nodes(self) -> Mapping[tuple[str, int], Link]:
        """Links to the primaries of a cluster, by host and port; empty for a single server."""
        return {}

    @property
    def slots(self) -> Mapping[tuple[str, int], int]:
        """Number of slots of each primary of a cluster; empty for a single server."""
        return {}

    @property
    def reconnects(self) -> dict[str, int]:
        """Number of reconnections of each kind of connection."""
        return {name: max(counts.connected - 1, 0) for name, counts in self.statistics.items()}

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Number of commands that wait for the link."""

    @abstractmethod
    def start(self) -> None:
        """Connect, and keep the connections open."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish the sent commands, fail the waiting ones, and close the connections."""

    @property
    def is_ready(self) -> bool:
        """True if all connections are logged in and restored."""
        return not self._stopped and set(self.states.values()) == {"ready"}

    @property
    def status(self) -> str:
        """``not started``, ``ready``, ``connecting`` or ``stopped``."""
        if not self._was_started:
            return "not started"
        if self._stopped:
            return "stopped"
        return "ready" if self.is_ready else "connecting"

    @property
    def cause(self) -> str:
        """Reason why the link is not ready, if known; empty when it is ready."""
        return self._last_cause

    @property
    def error(self) -> BaseException | None:
        """The error behind `cause`."""
        return self._last_error

    def ready(self) -> Deferred[None]:
        """Wait for the link.

        Returns:
            Fires when all connections are ready.

        Fails with:
            BusUnavailable: the link is or was stopped, or too many are already waiting.
        """
        self.check_thread()
        if self.is_ready:
            return succeed(None)
        if (stopped := self.stopped_error()) is not None:
            return fail(stopped)
        if len(self._waiting_for_ready) >= self._max_waiting:
            return fail(too_many(self._max_waiting))
        return self._waiting_for_ready.wait()

    def is_node_ready(self, name: str) -> bool:
        """Return True if a command on a key or a topic could be sent now, whatever its gaps."""
        return self.is_ready

    def node_ready(self, name: str) -> Deferred[None]:
        """Wait until `is_node_ready` is true; otherwise like `ready`."""
        return self.ready()

    def is_ready_for(self, topic: str, reply_topic: str) -> bool:
        """Return True if a message on a topic could be sent and its reply received now."""
        return self.is_ready

    def ready_for(self, topic: str, reply_topic: str) -> Deferred[None]:
        """Wait until `is_ready_for` is true; otherwise like `ready`."""
        return self.ready()

    @abstractmethod
    def execute(self, *arguments: Argument, timeout: float = COMMAND_TIMEOUT) -> Deferred[Any]:
        """Send a command when the link is ready.

        Args:
            arguments: name of the command and its arguments.
            timeout: seconds to wait for the link.

        Returns:
            Fires with Redis's reply: bytes, int, None or a list of these.

        Raises:
            InvalidArgument: the timeout is not a number above 0.

        Fails with:
            BusUnavailable: the link was down until the timeout; nothing was sent.
            CommandFailed: Redis answered with an error.
            ConnectionLost: the link broke before the reply arrived.
        """

    @abstractmethod
    def send(self, arguments: tuple[Argument, ...], done: Done) -> None:
        """Send a command without a Deferred, for thousands of commands per second.

        Args:
            arguments: name of the command and its arguments.
            done: called with the reply, or with the `BusError` that `execute` would fail with.
        """

    @abstractmethod
    def is_in_gap(self, topic: str) -> bool:
        """Return True if messages on a subscribed topic may be missed now."""

    def key(self, keyspace: Keyspace, name: str) -> str:
        """Return the name of a key of this package on this link."""
        return keyspace.on_cluster(name) if self.address.is_cluster else name

    def run(self, script: Script, keys: Sequence[Argument], *arguments: Argument) -> Deferred[Any]:
        """Run a script in Redis; send its text only if Redis does not have it yet.

        Args:
            script: the script.
            keys: names of its keys on a single server.
            arguments: its further arguments.

        Returns:
            Fires with its result; fails like `execute`.

        Source: Redis commands EVALSHA and EVAL.
        """

        def unknown(failure: Failure) -> Deferred[Any] | Failure:
            error = failure.value
            if isinstance(error, CommandFailed) and error.code == "NOSCRIPT":
                return self.execute("EVAL", script.text, len(keys), *keys, *arguments)
            return failure

        known = self.execute("EVALSHA", script.sha1, len(keys), *keys, *arguments)
        return known.addErrback(unknown)

    @abstractmethod
    def delete(self, names: Sequence[bytes]) -> Deferred[int]:
        """Delete variables.

        Returns:
            Fires with the number of variables that existed; fails like `execute`.
        """

    @abstractmethod
    def subscribed(self, pattern: str) -> Deferred[set[bytes]]:
        """List the topics with a subscriber, of any program, that match a pattern.

        Returns:
            Fires with their names; fails like `execute`.
        """

    @abstractmethod
    def track(self) -> Deferred[Any]:
        """Enable invalidation messages for the variables that `read_tracked` reads.

        Source: Redis command CLIENT TRACKING.
        """

    def untrack(self, name: bytes) -> None:  # noqa: B027 (only a cluster has to)
        """Forget a tracked variable that nothing watches any more."""

    @abstractmethod
    def read_tracked(self, name: bytes) -> Deferred[bytes | None]:
        """Read a variable and track it; the link must be ready.

        Source: Redis commands CLIENT CACHING and GET.
        """

    def why_not(self) -> str:
        """Explain to an operator why something timed out."""
        if not self._was_started:
            return "the bus was not started; call its startService(), or set its parent service"
        if self.is_ready:
            return f"Redis at {self.address} is slow or refuses the command; see the log"
        return f"no link to Redis at {self._why_down()}"

    def unavailable(self, seconds: float) -> BusUnavailable:
        """Make the error for a timeout of waiting for the link, with its cause.

        Args:
            seconds: duration of the wait.
        """
        seconds = round(seconds, 3)  # a cluster sends commands again within their timeout
        message = (
            f"no link for {seconds:g} seconds to Redis at {self._why_down()}"
            if self._was_started
            else f"waited {seconds:g} seconds for the link: {self.why_not()}"
        )
        error = BusUnavailable(message, seconds=seconds)
        error.__cause__ = self._last_error
        return error

    def stopped_error(self) -> BusUnavailable | None:
        """Make the error for a use of the stopped link, or return None while it runs."""
        if not self._stopped:
            return None
        return BusUnavailable("the bus is stopped; start it with startService()")

    def _why_down(self) -> str:
        return f"{self.address} ({self._last_cause})" if self._last_cause else str(self.address)


class HasLink(Protocol):
    """A bus, or another object with a link."""

    @property
    def link(self) -> Link:
        """The link that carries the commands."""
