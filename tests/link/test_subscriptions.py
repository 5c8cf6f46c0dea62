"""Bookkeeping of subscriptions: after any order of events, acknowledged = wanted."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import CommandFailed, ConnectionLost
from opentera_twisted.link.protocol import Done, Operation
from opentera_twisted.link.subscriptions import SUBSCRIBE_BATCH, Name, SubscriptionTable
from tests.helpers.support import log_of

NAMES = [Name(b"a"), Name(b"b"), Name(b"c"), Name(b"a", is_pattern=True)]


class Connection:
    """A model of Redis that answers commands in order, on request."""

    def __init__(self, table: SubscriptionTable, refused: frozenset[bytes] = frozenset()) -> None:
        self.subscribed: set[Name] = set()
        self.sent: list[tuple[Operation, list[bytes]]] = []
        self.waiting: list[tuple[Operation, list[bytes], Done]] = []
        self._table = table
        self._refused = refused
        self.restored: Any = None

    def connect(self) -> None:
        self.restored = Deferred.fromCoroutine(self._table.restore(self.send))
        self.restored.addErrback(lambda failure: failure.trap(ConnectionLost) and None)

    def send(self, operation: Operation, names: Sequence[bytes], done: Done) -> None:
        self.sent.append((operation, list(names)))
        self.waiting.append((operation, list(names), done))

    def answer(self) -> None:
        """Acknowledge one name of the oldest command, or refuse the command."""
        operation, names, done = self.waiting[0]
        if "UN" not in operation and self._refused.intersection(names):
            self.refuse()
            return
        text = names.pop(0)
        name = Name(text, operation.startswith("P"))
        (self.subscribed.discard if "UN" in operation else self.subscribed.add)(name)
        if not names:
            self.waiting.pop(0)
        self._table.acknowledge(operation, text)
        if not names:
            done(None)

    @property
    def may_refuse(self) -> bool:
        """True if the oldest command subscribes and no name of it is acknowledged."""
        if not self.waiting:
            return False
        operation, names, _ = self.waiting[0]
        return (operation, names) == self.sent[-len(self.waiting)] and "UN" not in operation

    def refuse(self) -> None:
        """Refuse the oldest command."""
        operation, _, done = self.waiting.pop(0)
        done(CommandFailed(operation, "NOPERM no"))

    def answer_all(self) -> None:
        while self.waiting:
            self.answer()

    def lose(self) -> None:
        waiting, self.waiting = self.waiting, []
        self._table.disconnected()  # first, as a connection does
        for _, _, done in waiting:
            done(ConnectionLost("lost"))


class SubscriptionMachine(RuleBasedStateMachine):
    """Wants, drops, acknowledgements, refusals and breaks in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SubscriptionTable()
        self.connection: Connection | None = None
        self.wanted: set[Name] = set()
        self.waits = 0
        self.ended = 0

    def wait(self, waiting: Deferred[None]) -> None:
        def end(result: object) -> None:
            self.ended += 1
            if isinstance(result, Failure):
                result.trap(CancelledError, CommandFailed)

        self.waits += 1
        waiting.addBoth(end)

    @rule(names=st.lists(st.sampled_from(NAMES)))
    def want(self, names: list[Name]) -> None:
        self.wanted.update(names)
        self.wait(self.table.want(*names))

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: Name) -> None:
        self.wanted.discard(name)
        self.wait(self.table.drop(name))

    @precondition(lambda self: self.connection is None)
    @rule()
    def connect(self) -> None:
        self.connection = Connection(self.table)
        self.connection.connect()

    @precondition(lambda self: self.connection is not None)
    @rule()
    def lose(self) -> None:
        assert self.connection is not None
        self.connection.lose()
        self.connection = None

    @precondition(lambda self: self.connection is not None and self.connection.waiting)
    @rule()
    def answer(self) -> None:
        assert self.connection is not None
        self.connection.answer()

    @precondition(lambda self: self.connection is not None and self.connection.may_refuse)
    @rule()
    def refuse(self) -> None:
        assert self.connection is not None
        self.connection.refuse()

    @precondition(lambda self: self.connection is not None)
    @rule()
    def retry_refused(self) -> None:
        self.table.retry_refused()

    @invariant()
    def wanted_is_what_was_asked(self) -> None:
        assert self.table.wanted == self.wanted
        assert set(filter(self.table.is_wanted, NAMES)) == self.wanted

    @invariant()
    def acknowledged_is_what_redis_confirmed(self) -> None:
        subscribed = self.connection.subscribed if self.connection else set()
        assert self.table.acknowledged <= subscribed

    @invariant()
    def nobody_waits_when_redis_has_answered_everything(self) -> None:
        if self.connection is not None and not self.connection.waiting:
            assert self.ended == self.waits

    def teardown(self) -> None:
        if self.connection is not None:
            self.connection.answer_all()
            self.nobody_waits_when_redis_has_answered_everything()
            self.connection.lose()  # refused names are requested again
        self.connect()
        assert self.connection is not None
        self.connection.answer_all()
        assert self.table.acknowledged == self.wanted == self.connection.subscribed
        assert self.ended == self.waits


TestSubscriptionMachine = SubscriptionMachine.TestCase


class RestoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = SubscriptionTable()

    def test_many_names_are_restored_in_batches(self) -> None:
        count = 2 * SUBSCRIBE_BATCH + 1
        for number in range(count):
            self.table.want(Name(b"%d" % number))
        self.table.want(Name(b"p*", is_pattern=True))
        connection = Connection(self.table)
        connection.connect()
        connection.answer_all()
        self.successResultOf(connection.restored)
        self.assertEqual(
            [(operation, len(names)) for operation, names in connection.sent],
            [*[("SUBSCRIBE", SUBSCRIBE_BATCH)] * 2, ("SUBSCRIBE", 1), ("PSUBSCRIBE", 1)],
        )
        self.assertEqual(len(self.table.acknowledged), count + 1)

    def test_a_break_during_a_restore_restarts_it(self) -> None:
        for number in range(SUBSCRIBE_BATCH + 5):
            self.table.want(Name(b"%d" % number))
        first = Connection(self.table)
        first.connect()
        for _ in range(SUBSCRIBE_BATCH // 2):
            first.answer()
        first.lose()
        self.successResultOf(first.restored)
        self.assertEqual(self.table.acknowledged, set())
        self.table.drop(Name(b"0"))
        second = Connection(self.table)
        second.connect()
        second.answer_all()
        self.successResultOf(second.restored)
        self.assertEqual(self.table.acknowledged, self.table.wanted)
        self.assertEqual(len(self.table.wanted), SUBSCRIBE_BATCH + 4)

    def test_a_refused_name_leaves_others_of_its_batch(self) -> None:
        good, bad = self.table.want(Name(b"good")), self.table.want(Name(b"bad"))
        connection = Connection(self.table, refused=frozenset({b"bad"}))
        connection.connect()
        connection.answer()
        self.assertEqual(connection.sent[1:], [("SUBSCRIBE", [b"good"]), ("SUBSCRIBE", [b"bad"])])
        connection.answer()
        self.assertNoResult(connection.restored)
        connection.answer()
        self.successResultOf(connection.restored)
        self.successResultOf(good)
        self.failureResultOf(bad, CommandFailed)
        self.assertEqual(self.table.acknowledged, {Name(b"good")})
        # The next connection requests it again.
        self.assertEqual(self.table.wanted, {Name(b"good"), Name(b"bad")})
        connection.lose()
        again = Connection(self.table)
        again.connect()
        again.answer_all()
        self.assertEqual(self.table.acknowledged, self.table.wanted)

    def test_a_refused_name_is_retried_until_it_is_allowed(self) -> None:
        allowed: list[None] = []
        self.table.on_allowed = lambda: allowed.append(None)
        log = log_of(self)
        self.table.want(Name(b"bad")).addErrback(lambda failure: failure.trap(CommandFailed))
        self.table.want(Name(b"dropped")).addErrback(lambda failure: failure.trap(CommandFailed))
        connection = Connection(self.table)
        connection.connect()
        connection.refuse()
        connection.refuse()
        connection.refuse()
        self.table.drop(Name(b"dropped"))
        self.assertEqual(len(log.items), 2)
        for _ in range(2):
            self.table.retry_refused()
            self.table.retry_refused()  # sends it once
            ((operation, names, _done),) = connection.waiting
            self.assertEqual((operation, names), ("SUBSCRIBE", [b"bad"]))
            connection.refuse()
        self.table.retry_refused()
        self.assertEqual(allowed, [])
        connection.answer()
        self.assertEqual(allowed, [None])
        self.table.retry_refused()
        self.assertEqual(connection.waiting, [])
        self.assertEqual(len(log.items), 2)  # the retries add no lines

    def test_a_name_dropped_before_its_batch_fails_is_forgotten(self) -> None:
        for name in (b"good", b"dropped"):
            self.table.want(Name(name)).addErrback(lambda failure: failure.trap(CancelledError))
        bad = self.table.want(Name(b"bad"))
        connection = Connection(self.table, refused=frozenset({b"bad"}))
        connection.connect()
        dropped = self.table.drop(Name(b"dropped"))
        connection.answer_all()
        self.successResultOf(dropped)
        self.successResultOf(connection.restored)
        self.failureResultOf(bad, CommandFailed)
        self.assertEqual(connection.subscribed, {Name(b"good")})

    def test_a_refusal_fails_all_waiters_of_the_name(self) -> None:
        connection = Connection(self.table, refused=frozenset({b"bad"}))
        connection.connect()
        waits = [self.table.want(Name(b"bad")) for _ in range(2)]
        connection.answer_all()
        for wait in waits:
            failure: Failure = self.failureResultOf(wait, CommandFailed)
            self.assertIn("NOPERM", failure.getErrorMessage())

    def test_the_log_names_the_refused_command(self) -> None:
        log = log_of(self)
        connection = Connection(self.table)
        connection.connect()
        for name in NAMES[2:]:
            self.table.want(name)
            connection.answer()
            self.table.drop(name)
            connection.refuse()
        self.assertEqual(
            [line.partition(":")[0] for line in log.items],
            ["Redis refuses UNSUBSCRIBE of c", "Redis refuses PUNSUBSCRIBE of a"],
        )


class SeveralNamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = SubscriptionTable()

    def connection(self, *refused: bytes) -> Connection:
        connection = Connection(self.table, frozenset(refused))
        connection.connect()
        return connection

    def test_names_wanted_together_share_a_command(self) -> None:
        connection = self.connection()
        self.table.want(Name(b"old"))
        names = [Name(b"a"), Name(b"old"), Name(b"p*", is_pattern=True), Name(b"b"), Name(b"a")]
        wait = self.table.want(*names)
        self.assertEqual(
            connection.sent,
            [("SUBSCRIBE", [b"old"]), ("SUBSCRIBE", [b"a", b"b"]), ("PSUBSCRIBE", [b"p*"])],
        )
        for _ in range(3):
            connection.answer()
            self.assertNoResult(wait)
        connection.answer()
        self.successResultOf(wait)
        self.successResultOf(self.table.want(*names))
        self.assertEqual(len(connection.sent), 3)

    def test_a_refused_name_of_several_fails_alone(self) -> None:
        connection = self.connection(b"bad")
        both = self.table.want(Name(b"good"), Name(b"bad"))
        good = self.table.want(Name(b"good"))
        connection.answer_all()
        self.failureResultOf(both, CommandFailed)
        self.successResultOf(good)
        self.assertEqual(self.table.acknowledged, {Name(b"good")})
        self.assertEqual(self.table.wanted, {Name(b"good"), Name(b"bad")})

    def test_a_name_dropped_before_its_refusal_is_forgotten(self) -> None:
        connection = self.connection(b"bad")
        both = self.table.want(Name(b"good"), Name(b"bad"))
        dropped = self.table.drop(Name(b"good"))
        self.failureResultOf(both, CancelledError)
        connection.answer_all()
        self.successResultOf(dropped)
        self.assertEqual(self.table.wanted, {Name(b"bad")})
        self.assertEqual(connection.subscribed, set())

    def test_a_name_may_be_dropped_again_when_another_has_left(self) -> None:
        connection = self.connection()
        names = [Name(text, is_sharded=True) for text in (b"{s}a", b"{s}b")]
        self.table.want(*names).addErrback(lambda failure: failure.trap(CancelledError))
        first, second = map(self.table.drop, names)
        again = first.addCallback(lambda _: self.table.drop(names[1]))
        operation, _, done = connection.waiting.pop()
        done(CommandFailed(operation, "MOVED 1 h:1"))
        for left in (again, second):
            self.successResultOf(left)

    def test_cancelling_ends_the_wait_for_all_names(self) -> None:
        connection = self.connection()
        both, other = (self.table.want(Name(b"a"), Name(b"b")) for _ in range(2))
        both.cancel()
        self.failureResultOf(both, CancelledError)
        connection.answer_all()
        self.successResultOf(other)
        self.assertEqual(self.table.acknowledged, {Name(b"a"), Name(b"b")})

    def test_an_answered_waiter_is_released_by_the_other_names(self) -> None:
        connection = self.connection(b"bad")
        cancelled = self.table.want(Name(b"a"), Name(b"b"))
        refused = self.table.want(Name(b"bad"), Name(b"c"))
        kept = [weakref.ref(cancelled), weakref.ref(refused)]
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        while not refused.called:
            connection.answer()
        connection.lose()
        self.failureResultOf(refused, CommandFailed)
        del cancelled, refused
        gc.collect()
        self.assertEqual([reference() for reference in kept], [None, None])
