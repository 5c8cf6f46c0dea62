"""Which channels and patterns are wanted, and which Redis has acknowledged: bookkeeping only.

Wanted is what the program asked for; it outlives connections. Of each name at most one command is
under way, so that an acknowledgement always belongs to the command that was sent; what was asked
meanwhile is settled when it comes:

    off --SUBSCRIBE--> subscribing --acknowledged--> on --UNSUBSCRIBE--> unsubscribing --> off
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeVar

from attrs import Factory, define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusUnavailable, CommandFailed, ConnectionLost
from opentera_twisted.link.protocol import Operation
from opentera_twisted.link.refusals import shown

Send = Callable[[Operation, Sequence[bytes]], "Deferred[Any]"]
"""Sends one command for several names; fires when Redis has acknowledged each of them."""

SUBSCRIBE_BATCH: Final = 250
"""Names in one command of a restore: some milliseconds of work at a time."""

_log = Logger()

_One = TypeVar("_One")


class Name(NamedTuple):
    """A channel, or a pattern of channels."""

    text: bytes
    is_pattern: bool = False

    @property
    def subscribe(self) -> Operation:
        """The command that subscribes it."""
        return "PSUBSCRIBE" if self.is_pattern else "SUBSCRIBE"

    @property
    def unsubscribe(self) -> Operation:
        """The command that ends its subscription."""
        return "PUNSUBSCRIBE" if self.is_pattern else "UNSUBSCRIBE"


@define(eq=False)
class _Entry:
    """A name; those who wait for it are kept in their order."""

    wanted: bool = True
    state: Literal["off", "subscribing", "on", "unsubscribing"] = "off"
    joining: dict[_Joining, None] = Factory(dict)
    leaving: Waiters[None] = Factory(Waiters)


class _Joining:
    """One who waits until each of several names is acknowledged, or one is refused."""

    __slots__ = ("_missing", "acknowledged")

    def __init__(self, missing: Iterable[_Entry]) -> None:
        self._missing = set(missing)
        self.acknowledged: Deferred[None] = Deferred(self._leave)
        for entry in self._missing:
            entry.joining[self] = None

    def _leave(self, _: object = None) -> None:
        for entry in self._missing:
            entry.joining.pop(self, None)

    def joined(self, entry: _Entry) -> None:
        self._missing.discard(entry)
        if not self._missing and not self.acknowledged.called:
            self.acknowledged.callback(None)

    def fail(self, error: Failure | BusUnavailable) -> None:
        self._leave()
        if not self.acknowledged.called:  # what an earlier one called may have cancelled it
            self.acknowledged.errback(error)


class SubscriptionTable:
    """What one subscriber connection is, and should be, subscribed to."""

    def __init__(self) -> None:
        self._entries: dict[Name, _Entry] = {}
        self._send: Send | None = None

    @property
    def wanted(self) -> set[Name]:
        """What the program asked for."""
        return {name for name, entry in self._entries.items() if entry.wanted}

    @property
    def acknowledged(self) -> set[Name]:
        """What Redis has confirmed on the present connection."""
        return {name for name, entry in self._entries.items() if entry.state == "on"}

    def want(self, *names: Name) -> Deferred[None]:
        """Ask for names, with one command for those of a kind.

        Returns:
            Fires when Redis has acknowledged each, over however many connections that takes.

        Fails with:
            CommandFailed: Redis refuses one; it is asked for again with the next connection.
            BusUnavailable: the link was stopped.
            CancelledError: one was dropped first.
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
        joining = _Joining(missing.values())
        due = [name for name, entry in missing.items() if entry.state == "off"]
        self._ask([name for name in due if not name.is_pattern])
        self._ask([name for name in due if name.is_pattern])
        for entry in missing.values():
            entry.leaving.fire(None)
        return joining.acknowledged

    def drop(self, name: Name) -> Deferred[None]:
        """Ask for a name no longer.

        Returns:
            Fires when nothing more comes for it.
        """
        entry = self._entries.get(name)
        if entry is None:
            return succeed(None)
        entry.wanted = False
        gone = entry.leaving.wait()
        joining = _take(entry.joining)
        self._settle(name, entry)
        for one in joining:
            one.acknowledged.cancel()
        return gone

    async def restore(self, send: Send) -> None:
        """Subscribe, on a new connection, all that is wanted at this moment, in batches.

        Raises:
            ConnectionLost: the connection broke; what is wanted is kept for the next one.
        """
        self._send = send
        todo = [name for name, entry in self._entries.items() if entry.wanted]
        for batch in _batches(name for name in todo if not name.is_pattern):
            await self._subscribe(batch)
        for batch in _batches(name for name in todo if name.is_pattern):
            await self._subscribe(batch)

    def acknowledge(self, operation: Operation, text: bytes) -> None:
        """Redis confirmed an operation for one name."""
        name = Name(text, operation.startswith("P"))
        entry = self._entries[name]
        entry.state = "off" if "UN" in operation else "on"
        self._settle(name, entry)

    def disconnected(self) -> None:
        """The connection is gone, and its subscriptions with it."""
        self._send = None
        entries = list(self._entries.items())
        for _, entry in entries:
            entry.state = "off"
        for name, entry in entries:
            self._settle(name, entry)

    def fail_joining(self, error: BusUnavailable) -> None:
        """Fail all who wait for an acknowledgement."""
        for entry in list(self._entries.values()):
            for one in _take(entry.joining):
                one.fail(error)

    def _settle(self, name: Name, entry: _Entry) -> None:
        """Do the next thing that brings what is towards what is wanted."""
        if entry.state == "on" and entry.wanted:
            for one in _take(entry.joining):
                one.joined(entry)
        elif entry.state == "on" and self._send is not None:
            entry.state = "unsubscribing"
            self._send(name.unsubscribe, [name.text]).addErrback(self._refused, [name])
        elif entry.state == "off" and not entry.wanted:
            if self._entries.get(name) is entry:
                del self._entries[name]
            entry.leaving.fire(None)
        elif entry.state == "off":
            self._ask([name])

    def _ask(self, names: Sequence[Name]) -> None:
        """Subscribe names of one kind that are wanted and off, if there is a connection."""
        if names and self._send is not None:
            for name in names:
                self._entries[name].state = "subscribing"
            texts = [name.text for name in names]
            self._send(names[0].subscribe, texts).addErrback(self._refused, names)

    async def _subscribe(self, names: Sequence[Name]) -> None:
        """Subscribe several names of one kind, less those for which something is under way."""
        due = [name for name in names if self._is_due(name)]
        if not due or self._send is None:
            return
        for name in due:
            self._entries[name].state = "subscribing"
        try:
            await self._send(due[0].subscribe, [name.text for name in due])
        except CommandFailed:
            if len(due) == 1:
                self._refused(Failure(), due)
                return
            # Redis refuses a command as a whole: find out which name it was.
            for name in due:
                entry = self._entries[name]
                entry.state = "off"
                if not entry.wanted:  # it was dropped meanwhile
                    self._settle(name, entry)
            for name in due:
                await self._subscribe([name])

    def _is_due(self, name: Name) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.wanted and entry.state == "off"

    def _refused(self, failure: Failure, names: Sequence[Name]) -> None:
        if failure.check(ConnectionLost):
            return  # `disconnected` has settled it, or will
        failure.trap(CommandFailed)
        if len(names) > 1:
            # Redis refuses a command as a whole: find out which name it was.
            for name in names:
                entry = self._entries[name]
                entry.state = "off"
                self._settle(name, entry)
            return
        (name,) = names
        _log.error(
            "Redis refuses {operation} of {name}: {reason}",
            operation=name.subscribe,
            name=shown(name.text),
            reason=failure.getErrorMessage(),
        )
        # It stays wanted, unless who is told now drops it: rights may come back.
        entry = self._entries[name]
        entry.state = "off"
        for one in _take(entry.joining):
            one.fail(failure)
        if not entry.wanted:
            self._settle(name, entry)


def _take(waiting: dict[_One, None]) -> list[_One]:
    """Take all out before any is fired: what they call may add more."""
    taken = list(waiting)
    waiting.clear()
    return taken


def _batches(names: Iterator[Name]) -> Iterator[list[Name]]:
    while batch := list(islice(names, SUBSCRIBE_BATCH)):
        yield batch
