"""Wanted and acknowledged subscriptions to channels and patterns: bookkeeping only.

The program's wanted names outlive connections. At most one command per name is pending, so that an
acknowledgement always belongs to that command. The state after it is compared with the wish again:

    off --SUBSCRIBE--> subscribing --acknowledged--> on --UNSUBSCRIBE--> unsubscribing --> off
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

from attrs import Factory, define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusUnavailable, CommandFailed, ConnectionLost
from opentera_twisted.link.cluster_errors import REDIRECTIONS
from opentera_twisted.link.error_replies import shown
from opentera_twisted.link.protocol import Done, Operation, fire
from opentera_twisted.link.slots import key_slot

Send = Callable[[Operation, Sequence[bytes], Done], None]
"""Sends one command for several names.

It calls the function when Redis has acknowledged each name, or with a `BusError`.
"""

SUBSCRIBE_BATCH: Final = 250
"""Names in one command of a restoration, which take some milliseconds."""

_log = Logger()

_Waiter = TypeVar("_Waiter")


class Name(NamedTuple):
    """A channel, a pattern of channels, or a sharded channel of a cluster."""

    text: bytes
    is_pattern: bool = False
    is_sharded: bool = False

    @property
    def subscribe(self) -> Operation:
        """Command that subscribes to it."""
        if self.is_sharded:
            return "SSUBSCRIBE"
        return "PSUBSCRIBE" if self.is_pattern else "SUBSCRIBE"

    @property
    def unsubscribe(self) -> Operation:
        """Command that unsubscribes from it."""
        if self.is_sharded:
            return "SUNSUBSCRIBE"
        return "PUNSUBSCRIBE" if self.is_pattern else "UNSUBSCRIBE"


@define(eq=False)
class _Entry:
    """A name, with its waiters in order."""

    wanted: bool = True
    state: Literal["off", "subscribing", "on", "unsubscribing"] = "off"
    joining: dict[Joining, None] = Factory(dict)
    leaving: Waiters[None] = Factory(Waiters)


class HasJoining(Protocol):
    """An entry for a name, with its waiters in order."""

    joining: dict[Joining, None]


class Joining:
    """A waiter until each of several names is acknowledged, or one is refused."""

    __slots__ = ("_missing", "acknowledged")

    def __init__(self, missing: Iterable[HasJoining]) -> None:
        self._missing = set(missing)
        self.acknowledged: Deferred[None] = Deferred(self._leave)
        for entry in self._missing:
            entry.joining[self] = None

    def _leave(self, _: object = None) -> None:
        for entry in self._missing:
            entry.joining.pop(self, None)

    def joined(self, entry: HasJoining) -> None:
        """Note that one name is acknowledged."""
        self._missing.discard(entry)
        if not self._missing and not self.acknowledged.called:
            self.acknowledged.callback(None)

    def fail(self, error: Failure | CommandFailed | BusUnavailable) -> None:
        """Fail the waiter."""
        self._leave()
        if not self.acknowledged.called:  # an earlier callback may have cancelled it
            self.acknowledged.errback(error)


class SubscriptionTable:
    """Wanted and acknowledged subscriptions of one subscriber connection.

    Attributes:
        on_acknowledged: called with each name that Redis acknowledged and the program still wants.
        on_elsewhere: called with wanted names whose slot this server does not serve, now or any
            more. They stay off until `want` names them again.
        on_allowed: called when Redis acknowledges a name on the connection that refused it before.
    """

    def __init__(self) -> None:
        self.on_acknowledged: Callable[[Name], object] = lambda _: None
        self.on_allowed: Callable[[], object] = lambda: None
        self.on_elsewhere: Callable[[Sequence[Name]], object] = lambda _: None
        self._entries: dict[Name, _Entry] = {}
        self._refused: dict[Name, None] = {}  # on the current connection; some are dropped since
        self._send: Send | None = None

    @property
    def wanted(self) -> set[Name]:
        """Names that the program wants."""
        return {name for name, entry in self._entries.items() if entry.wanted}

    @property
    def acknowledged(self) -> set[Name]:
        """Names that Redis has acknowledged on the current connection."""
        return {name for name, entry in self._entries.items() if entry.state == "on"}

    def is_wanted(self, name: Name) -> bool:
        """Return True if the program wants a name."""
        entry = self._entries.get(name)
        return entry is not None and entry.wanted

    def want(self, *names: Name) -> Deferred[None]:
        """Want names; send one command for each kind.

        Returns:
            Fires when Redis has acknowledged each, across reconnections.

        Fails with:
            CommandFailed: Redis refused a name, which is tried again every few seconds.
            BusUnavailable: the link was stopped.
            CancelledError: a name was dropped first.
        """
        missing = {}
        for name in names:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry()
            entry.wanted = True
            if entry.state != "on":
                missing[name] = entry
        if not missing:
            return succeed(None)
        joining = Joining(missing.values())
        for group in _groups(filter(self._is_due, missing)):
            self._send_subscribe(group, self._replied)
        for entry in missing.values():
            entry.leaving.fire(None)
        return joining.acknowledged

    def drop(self, name: Name) -> Deferred[None]:
        """Drop a wanted name.

        Returns:
            Fires when no more messages arrive for it.
        """
        entry = self._entries.get(name)
        if entry is None:
            return succeed(None)
        entry.wanted = False
        gone = entry.leaving.wait()
        waiters = take(entry.joining)
        self._settle(name, entry)
        for waiter in waiters:
            waiter.acknowledged.cancel()
        return gone

    async def restore(self, send: Send) -> None:
        """Subscribe to all wanted names on a new connection, in batches.

        Raises:
            ConnectionLost: the connection broke; the names stay wanted for the next one.
        """
        self._send = send
        todo = [name for name, entry in self._entries.items() if entry.wanted]
        for batch in _batches(iter(todo)):
            groups = _groups(filter(self._is_due, batch))
            while groups:
                again = await self._subscribe(groups)
                groups = [[name] for name in again if self._is_due(name)]

    def retry_refused(self) -> None:
        """Subscribe again to some of the names that Redis has refused, each by its own command."""
        for name in list(islice(self._refused, SUBSCRIBE_BATCH)):
            del self._refused[name]
            if self._is_due(name):
                self._send_subscribe([name], self._retried)

    def _retried(self, names: Sequence[Name], reply: Any) -> None:
        (name,) = names
        if isinstance(reply, CommandFailed) and reply.code not in REDIRECTIONS:
            self._refuse(name, reply)  # the log has it
        else:
            self._note_reply(names, reply)
            if not isinstance(reply, (CommandFailed, ConnectionLost)) and self.is_wanted(name):
                self.on_allowed()

    def acknowledge(self, operation: Operation, text: bytes) -> None:
        """Record that Redis acknowledged an operation for one name."""
        name = Name(text, operation.startswith("P"), operation in {"SSUBSCRIBE", "SUNSUBSCRIBE"})
        entry = self._entries[name]
        entry.state = "off" if "UN" in operation else "on"
        self._settle(name, entry)

    def removed(self, text: bytes) -> None:
        """Record that Redis cancelled a sharded subscription by itself."""
        name = Name(text, is_sharded=True)
        entry = self._entries.get(name)
        if entry is not None and entry.state == "on":  # otherwise an acknowledgement follows
            entry.state = "off"
            self.on_elsewhere([name])

    def disconnected(self) -> None:
        """Record the loss of the connection and its subscriptions."""
        self._send = None
        self._refused.clear()
        for entry in self._entries.values():
            entry.state = "off"
        dropped = [item for item in self._entries.items() if not item[1].wanted]
        for name, entry in dropped:
            self._settle(name, entry)

    def fail_joining(self, error: BusUnavailable) -> None:
        """Fail all waiters for an acknowledgement."""
        for entry in list(self._entries.values()):
            for waiter in take(entry.joining):
                waiter.fail(error)

    def _settle(self, name: Name, entry: _Entry) -> None:
        """Take the next step from the current to the wanted state."""
        if entry.state == "on" and entry.wanted:
            for waiter in take(entry.joining):
                waiter.joined(entry)
            self.on_acknowledged(name)
        elif entry.state == "on" and self._send is not None:
            entry.state = "unsubscribing"
            self._send(name.unsubscribe, [name.text], partial(self._replied, [name]))
        elif entry.state == "off" and not entry.wanted:
            if self._entries.get(name) is entry:
                del self._entries[name]
            entry.leaving.fire(None)
        elif entry.state == "off":
            self._send_subscribe([name], self._replied)

    def _is_due(self, name: Name) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.wanted and entry.state == "off"

    def _send_subscribe(
        self, names: Sequence[Name], replied: Callable[[Sequence[Name], Any], None]
    ) -> None:
        """Subscribe to names of one kind that are wanted and off, if there is a connection."""
        if self._send is not None:
            for name in names:
                self._entries[name].state = "subscribing"
            texts = [name.text for name in names]
            self._send(names[0].subscribe, texts, partial(replied, names))

    def _subscribe(self, groups: Sequence[Sequence[Name]]) -> Deferred[list[Name]]:
        """Send one command for each group.

        Returns:
            Fires after all replies, with the names to subscribe one by one.

        Fails with:
            ConnectionLost: the connection broke first.
        """
        result: Deferred[list[Name]] = Deferred()
        again: list[Name] = []
        left = len(groups)

        def replied(names: Sequence[Name], reply: Any) -> None:
            nonlocal left
            left -= 1
            again.extend(self._note_reply(names, reply))
            if not left:
                fire(result, reply if isinstance(reply, ConnectionLost) else again)

        for names in groups:
            self._send_subscribe(names, replied)
        return result

    def _replied(self, names: Sequence[Name], reply: Any) -> None:
        for name in self._note_reply(names, reply):
            if self._is_due(name):
                self._send_subscribe([name], self._replied)

    def _note_reply(self, names: Sequence[Name], reply: Any) -> Sequence[Name]:
        """Record the reply to a command; return the names to subscribe one by one."""
        if not isinstance(reply, CommandFailed):
            return ()  # `disconnected` handles a lost connection, now or later
        if reply.code in REDIRECTIONS:
            self._elsewhere(names)
            return ()
        if len(names) > 1:
            # Redis refuses the whole command: find the refused name.
            for name in names:
                entry = self._entries[name]
                entry.state = "off"
                if not entry.wanted:
                    self._settle(name, entry)
            return names
        (name,) = names
        _log.error(
            "Redis refuses {operation} of {name}: {reason}",
            operation=reply.command,
            name=shown(name.text),
            reason=str(reply),
        )
        self._refuse(name, reply)
        return ()

    def _refuse(self, name: Name, reply: CommandFailed) -> None:
        # It stays wanted unless a waiter drops it now: the right may be restored.
        entry = self._entries[name]
        entry.state = "off"
        for waiter in take(entry.joining):
            waiter.fail(reply)
        if entry.wanted:
            self._refused[name] = None
        else:
            self._settle(name, entry)

    def _elsewhere(self, names: Sequence[Name]) -> None:
        """Leave names off that belong to another server."""
        entries = [(name, self._entries[name]) for name in names]
        for _, entry in entries:
            entry.state = "off"
        wanted = [name for name, entry in entries if entry.wanted]
        for name, entry in entries:
            if not entry.wanted:
                self._settle(name, entry)
        if wanted:
            self.on_elsewhere(wanted)


def take(waiting: dict[_Waiter, None]) -> list[_Waiter]:
    """Empty the dict and return its waiters before any fires: a callback may add more."""
    taken = list(waiting)
    waiting.clear()
    return taken


def _groups(names: Iterable[Name]) -> list[list[Name]]:
    """Group names that one command may subscribe to: of one kind, and of one slot if sharded."""
    groups: dict[object, list[Name]] = {}
    for name in names:
        group = key_slot(name.text) if name.is_sharded else name.subscribe
        groups.setdefault(group, []).append(name)
    return list(groups.values())


def _batches(names: Iterator[Name]) -> Iterator[list[Name]]:
    while batch := list(islice(names, SUBSCRIBE_BATCH)):
        yield batch
