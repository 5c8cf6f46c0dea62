"""Wanted and acknowledged topics of a cluster: bookkeeping over one table for each node.

Each topic is in the table of the node that owns its slot. When the owner changes, the topic, with
its waiters, moves to the other table. Its gap lasts from the loss of an acknowledged subscription
to the next acknowledgement, whichever node gives it.

With ``pubsub=classic``, a node sends the messages of most topics to all nodes. A pattern is at the
node of the slot that its text has. A pattern also has a gap when another node is lost: that node's
last messages may have reached nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attrs import Factory, define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import gathered
from opentera_twisted.errors import BusUnavailable, CommandFailed, NotOnCluster
from opentera_twisted.link.subscriptions import Joining, Name, SubscriptionTable, take
from opentera_twisted.topics import REPLY_CHANNELS

_OF_EACH_NODE = b"__redis__:"
"""Prefix of channels to which each node publishes by itself."""


def is_always_sharded(topic: bytes | str | int) -> bool:
    """Return True for topics of calls, which are sharded with ``pubsub=classic`` too.

    Only the number of receivers of a sharded topic is exact.
    """
    text = topic.decode(errors="replace") if isinstance(topic, bytes) else str(topic)
    return is_call(text) or text.startswith(REPLY_CHANNELS)


def is_call(topic: object) -> bool:
    """Return True for a topic of requests, in text."""
    return isinstance(topic, str) and topic.endswith(".rpc")


@define(eq=False)
class _Entry:
    """A wanted topic.

    Attributes:
        table: table of the node that owns the slot; None if none is known.
        is_on: true if the node has acknowledged the subscription.
        is_elsewhere: true if the node has refused or cancelled the subscription.
    """

    table: SubscriptionTable | None = None
    is_on: bool = False
    is_elsewhere: bool = False
    joining: dict[Joining, None] = Factory(dict)


class ClusterSubscriptions:
    """The topics of all nodes.

    Args:
        table_of: returns the table of the node that owns a topic's slot; None if unknown.
        tables: returns the tables of all nodes.
        on_interrupted: called with topics whose gap begins.
        on_restored: called with each topic whose gap ends.
        on_elsewhere: called when a node has refused or cancelled topics whose slot it does not
            serve; `assign` must follow.
        is_classic: True for ``pubsub=classic``.

    Attributes:
        in_gap: topics whose messages may be missed now.
    """

    def __init__(
        self,
        table_of: Callable[[bytes], SubscriptionTable | None],
        tables: Callable[[], Iterable[SubscriptionTable]],
        on_interrupted: Callable[[frozenset[bytes]], object],
        on_restored: Callable[[bytes], object],
        on_elsewhere: Callable[[], object],
        *,
        is_classic: bool = False,
    ) -> None:
        self._table_of = table_of
        self._tables = tables
        self._on_interrupted = on_interrupted
        self._on_restored = on_restored
        self._on_elsewhere = on_elsewhere
        self._is_classic = is_classic
        self._entries: dict[Name, _Entry] = {}
        self.in_gap: set[Name] = set()

    @property
    def wanted(self) -> set[Name]:
        """Topics that the program wants."""
        return {Name(name.text, name.is_pattern) for name in self._entries}

    @property
    def acknowledged(self) -> set[Name]:
        """Topics that their present owners have acknowledged."""
        return {
            Name(name.text, name.is_pattern) for name, entry in self._entries.items() if entry.is_on
        }

    def is_wanted(self, name: Name) -> bool:
        """Return True if the program wants a topic."""
        return not name.is_sharded and self._at_node(name) in self._entries

    @property
    def is_settled(self) -> bool:
        """True unless a node has refused or cancelled a topic, or a topic has no node."""
        return not any(
            entry.is_elsewhere or entry.table is None for entry in self._entries.values()
        )

    def observe(self, table: SubscriptionTable) -> None:
        """Observe the table of a new node."""
        table.on_acknowledged = partial(self._acknowledged, table)
        table.on_elsewhere = partial(self._elsewhere, table)

    def is_in_gap(self, topic: bytes) -> bool:
        """Return True if messages on a topic may be missed now."""
        return bool(self.in_gap) and self._at_node(Name(topic)) in self.in_gap

    def want(self, *names: Name) -> Deferred[None]:
        """Want topics.

        Returns:
            Fires when Redis has acknowledged each, across reconnections and moves of slots.

        Fails with:
            CommandFailed: Redis refused a topic, which is tried again every few seconds.
            BusUnavailable: the link was stopped.
            CancelledError: a topic was dropped first.
        """
        if not self._is_classic and any(name.is_pattern for name in names):
            return fail(NotOnCluster("a Redis Cluster has no patterns; subscribe to each topic"))
        if any(name.text.startswith(_OF_EACH_NODE) for name in names):
            joined = gathered(table.want(*names) for table in self._tables())
            return joined.addCallback(lambda _: None)
        missing = {}
        for name in map(self._at_node, names):
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry()
            if not entry.is_on:
                missing[name] = entry
        if not missing:
            return succeed(None)
        joining = Joining(missing.values())
        for name, entry in missing.items():
            if entry.table is None:
                entry.table = self._table_of(name.text)
            if entry.table is not None and not entry.is_elsewhere:
                self._join(name, entry, entry.table)
        return joining.acknowledged

    def drop(self, name: Name) -> Deferred[None]:
        """Drop a wanted topic.

        Returns:
            Fires when no more messages arrive for it.
        """
        name = self._at_node(name)
        entry = self._entries.pop(name, None)
        if entry is None:
            return succeed(None)
        self.in_gap.discard(name)
        table, entry.table = entry.table, None
        gone = succeed(None) if table is None else table.drop(name)
        for waiter in take(entry.joining):
            waiter.acknowledged.cancel()
        return gone

    def assign(self) -> None:
        """Move each topic to the table of its present owner; subscribe again where necessary."""
        moved, due = [], []
        for name, entry in list(self._entries.items()):
            table = self._table_of(name.text)
            if table is entry.table and not entry.is_elsewhere:
                continue
            if entry.is_on:
                moved.append(name)
            due.append((name, entry, table))
        self._interrupt(moved)
        for name, entry, table in due:
            if self._entries.get(name) is not entry:  # an observer dropped it
                continue
            before, entry.table, entry.is_elsewhere = entry.table, table, False
            if before is not None and before is not table:
                before.drop(name).addErrback(lambda _: None)
            if table is not None:
                self._join(name, entry, table)

    def interrupted(self, table: SubscriptionTable) -> None:
        """Record the loss of a node's subscriber connection."""
        lost = []
        for name, entry in self._entries.items():
            if entry.is_on and (entry.table is table or name.is_pattern):
                lost.append(name)
                entry.is_elsewhere = entry.table is not table  # `assign` ends its gap
        self._interrupt(lost)

    def fail_joining(self, error: BusUnavailable) -> None:
        """Fail all waiters for an acknowledgement."""
        for entry in list(self._entries.values()):
            for waiter in take(entry.joining):
                waiter.fail(error)

    def _at_node(self, name: Name) -> Name:
        """Return a name as the nodes know it."""
        if name.is_pattern or (self._is_classic and not is_always_sharded(name.text)):
            return name
        return Name(name.text, is_sharded=True)

    def _join(self, name: Name, entry: _Entry, table: SubscriptionTable) -> None:
        def refused(failure: Failure) -> None:
            # Otherwise the topic was dropped or has moved, or the link was stopped.
            if failure.check(CommandFailed) and entry.table is table:
                for waiter in take(entry.joining):
                    waiter.fail(failure)

        table.want(name).addCallbacks(lambda _: self._acknowledged(table, name), refused)

    def _acknowledged(self, table: SubscriptionTable, name: Name) -> None:
        entry = self._entries.get(name)
        if entry is None or entry.table is not table:
            return
        entry.is_on, entry.is_elsewhere = True, False
        for waiter in take(entry.joining):
            waiter.joined(entry)
        if name in self.in_gap:
            self.in_gap.remove(name)
            self._on_restored(name.text)

    def _elsewhere(self, table: SubscriptionTable, names: Sequence[Name]) -> None:
        lost = []
        for name in names:
            entry = self._entries.get(name)
            if entry is not None and entry.table is table:
                entry.is_elsewhere = True
                if entry.is_on:
                    lost.append(name)
        self._interrupt(lost)
        self._on_elsewhere()

    def _interrupt(self, names: Sequence[Name]) -> None:
        for name in names:
            self._entries[name].is_on = False
        self.in_gap.update(names)
        if names:
            self._on_interrupted(frozenset(name.text for name in names))
