"""The two protocols: every reply reaches its command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from opentera_twisted import ClusterMode, CommandFailed, ConnectionLost
from opentera_twisted.link.protocol import CommandProtocol, Operation, SubscriberProtocol, fire
from opentera_twisted.link.statistics import SAMPLED, ConnectionStatistics


def bulk(*values: bytes | int) -> bytes:
    """Return a reply that is a list."""
    parts = [b"*%d\r\n" % len(values)]
    for value in values:
        if isinstance(value, int):
            parts.append(b":%d\r\n" % value)
        else:
            parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def change(
    protocol: SubscriberProtocol, operation: Operation, names: Sequence[bytes]
) -> Deferred[Any]:
    """Change subscriptions; the Deferred fires with the outcome."""
    result: Deferred[Any] = Deferred()
    protocol.change(operation, names, partial(fire, result))
    return result


class ProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lost: list[Failure] = []
        self.messages: list[tuple[bytes | None, bytes, bytes]] = []
        self.acknowledged: list[tuple[str, bytes]] = []
        self.reads: list[tuple[int, bool]] = []
        self.removed: list[bytes] = []
        self.clock = Clock()

    def commands(self) -> CommandProtocol:
        protocol = CommandProtocol(self.lost.append)
        protocol.makeConnection(StringTransport())
        return protocol

    def subscriber(self) -> SubscriberProtocol:
        protocol = SubscriberProtocol(
            self.lost.append,
            lambda *message: self.messages.append(message),
            lambda *one: self.acknowledged.append(one),
            lambda is_full: self.reads.append((len(self.messages), is_full)),
            on_removed=self.removed.append,
        )
        protocol.makeConnection(StringTransport())
        return protocol

    def test_a_read_ends_after_all_its_messages(self) -> None:
        protocol = self.subscriber()
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$1\r\nx\r\n"
        protocol.dataReceived(message * 3 + message[:9])
        protocol.dataReceived(message[9:])
        self.assertEqual(self.reads, [(3, False), (4, False)])

    def test_a_read_as_large_as_possible_is_full(self) -> None:
        protocol = self.subscriber()
        socket = FileDescriptor(self.clock)  # type: ignore[arg-type]  # it only reads
        protocol.makeConnection(socket)
        for size in (socket.bufferSize - 1, socket.bufferSize):
            protocol.dataReceived(b"$1048576\r\n".ljust(size, b"x"))  # a part of a message
        self.assertEqual([is_full for _, is_full in self.reads], [False, True])

    def test_replies_go_to_commands_in_their_order(self) -> None:
        protocol = self.commands()
        replies = [protocol.execute_command("GET", b"a"), protocol.execute_command("GET", b"b")]
        protocol.dataReceived(b"$3\r\n123\r\n$-1\r\n")
        self.assertEqual(self.successResultOf(replies[0]), b"123")
        self.assertIsNone(self.successResultOf(replies[1]))

    def test_an_error_fails_its_own_command_only(self) -> None:
        protocol = self.commands()
        bad, good = protocol.execute_command("GET", "l"), protocol.execute_command("DEL", "l")
        protocol.dataReceived(b"-WRONGTYPE not a string\r\n:1\r\n")
        error = self.failureResultOf(bad, CommandFailed).value
        self.assertEqual((error.command, error.code), ("GET", "WRONGTYPE"))
        self.assertEqual(self.successResultOf(good), 1)

    def test_a_cancelled_command_does_not_shift_replies(self) -> None:
        protocol = self.commands()
        first, second = protocol.execute_command("GET", "a"), protocol.execute_command("GET", "b")
        first.cancel()
        self.failureResultOf(first)
        protocol.dataReceived(b"$1\r\na\r\n$1\r\nb\r\n")
        self.assertEqual(self.successResultOf(second), b"b")

    def test_a_break_fails_waiting_commands_and_drops_replies(self) -> None:
        protocol = self.commands()
        waiting = [protocol.execute_command("GET", "a"), protocol.execute_command("GET", "b")]
        protocol.dataReceived(b"$10\r\nhalf")
        protocol.connectionLost(Failure(ConnectionLost("cut")))
        for waiter in waiting:
            self.failureResultOf(waiter, ConnectionLost)
        self.failureResultOf(protocol.execute_command("GET", "c"), ConnectionLost)
        self.assertEqual(len(self.lost), 1)

    def test_an_unexpected_reply_closes_the_connection(self) -> None:
        protocol = self.commands()
        protocol.dataReceived(b"+OK\r\n")
        self.assertTrue(protocol.transport.disconnecting)
        protocol.dataReceived(b"")
        protocol.connectionLost(Failure(ConnectionLost("aborted")))
        self.assertIn("unexpected reply", self.lost[0].getErrorMessage())

    def test_messages_may_interleave_acknowledgements_and_replies(self) -> None:
        protocol = self.subscriber()
        changed = change(protocol, "SUBSCRIBE", [b"a", b"b"])
        pong = protocol.execute_command("PING")
        protocol.dataReceived(
            bulk(b"subscribe", b"a", 1)
            + bulk(b"message", b"a", b"123")
            + bulk(b"subscribe", b"b", 2)
            + bulk(b"pmessage", b"a*", b"ab", b"\x00\xff")
            + bulk(b"pong", b""),
        )
        self.successResultOf(changed)
        self.successResultOf(pong)
        self.assertEqual(self.acknowledged, [("SUBSCRIBE", b"a"), ("SUBSCRIBE", b"b")])
        self.assertEqual(self.messages, [(None, b"a", b"123"), (b"a*", b"ab", b"\x00\xff")])

    def test_overlapping_subscriptions_are_distinguished(self) -> None:
        protocol = self.subscriber()
        first = change(protocol, "SUBSCRIBE", [b"a", b"b"])
        second = change(protocol, "PSUBSCRIBE", [b"c*"])
        third = change(protocol, "UNSUBSCRIBE", [b"a"])
        protocol.dataReceived(bulk(b"subscribe", b"a", 1))
        self.assertNoResult(first)
        protocol.dataReceived(bulk(b"subscribe", b"b", 2) + bulk(b"psubscribe", b"c*", 3))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertNoResult(third)
        protocol.dataReceived(bulk(b"unsubscribe", b"a", 2))
        self.successResultOf(third)

    def test_a_slot_that_leaves_cancels_a_sharded_subscription(self) -> None:
        protocol = self.subscriber()
        changed = change(protocol, "SSUBSCRIBE", [b"a"])
        other = change(protocol, "SSUBSCRIBE", [b"b"])
        protocol.dataReceived(bulk(b"ssubscribe", b"a", 1) + bulk(b"smessage", b"a", b"x"))
        protocol.dataReceived(bulk(b"sunsubscribe", b"a", 0) + b"-MOVED 1 h:1\r\n")
        self.successResultOf(changed)
        self.failureResultOf(other, ClusterMode)
        self.assertEqual((self.messages, self.removed), ([(None, b"a", b"x")], [b"a"]))

    def test_a_sharded_unsubscription_ends_with_the_ping_behind_it(self) -> None:
        cancelled, pong = bulk(b"sunsubscribe", b"a", 0), bulk(b"pong", b"left a")
        for replies in (
            cancelled + pong,
            cancelled + b"-MOVED 1 h:1\r\n" + pong,  # cancelled by Redis before
            cancelled + cancelled + b"$6\r\nleft a\r\n",  # without other subscriptions
        ):
            protocol = self.subscriber()
            left = change(protocol, "SUNSUBSCRIBE", [b"a"])
            later = protocol.execute_command("PING")
            for byte in replies[:-1]:
                protocol.dataReceived(bytes([byte]))
            self.assertNoResult(left)
            protocol.dataReceived(replies[-1:] + bulk(b"pong", b""))
            self.successResultOf(left)
            self.assertEqual(self.successResultOf(later), [b"pong", b""])
            self.assertEqual(self.acknowledged.pop(), ("SUNSUBSCRIBE", b"a"))
        self.assertEqual((self.removed, self.acknowledged), ([], []))

    def test_a_timed_command_ends_before_its_review(self) -> None:
        statistics = ConnectionStatistics()
        protocol = CommandProtocol(self.lost.append, statistics)
        protocol.makeConnection(StringTransport())
        command = ("SPUBLISH", "topic", "message")
        done: list[Any] = []
        reviewed: list[Any] = []
        for _ in range(SAMPLED):
            protocol.send(command, done.append, review=lambda *given: reviewed.append(given))
        protocol.dataReceived(b":0\r\n" * SAMPLED)
        self.assertEqual(reviewed, [(command, done.append, 0)] * SAMPLED)
        self.assertEqual(sum(statistics.seconds.counts), 1)

    def test_a_refused_subscription_fails_its_own_command_only(self) -> None:
        protocol = self.subscriber()
        bad, good = change(protocol, "SUBSCRIBE", [b"a"]), change(protocol, "SUBSCRIBE", [b"b"])
        protocol.dataReceived(b"-NOPERM no\r\n" + bulk(b"subscribe", b"b", 1))
        self.failureResultOf(bad, CommandFailed)
        self.successResultOf(good)

    def test_an_unrequested_unsubscription_closes_the_connection(self) -> None:
        protocol = self.subscriber()
        protocol.dataReceived(bulk(b"unsubscribe", b"a", 0))
        self.assertTrue(protocol.transport.disconnecting)

    def test_a_mismatched_acknowledgement_closes_the_connection(self) -> None:
        for name in (b"other", b"b"):  # "b" was requested, but after "a"
            protocol = self.subscriber()
            changed = change(protocol, "SUBSCRIBE", [b"a", b"b"])
            protocol.dataReceived(bulk(b"subscribe", name, 1))
            self.assertTrue(protocol.transport.disconnecting)
            protocol.connectionLost(Failure(ConnectionLost("aborted")))
            self.failureResultOf(changed, ConnectionLost)
            self.assertIn("by itself", self.lost.pop().getErrorMessage())
        self.assertEqual(self.acknowledged, [])

    def test_bytes_arrive_unchanged_whatever_their_pieces(self) -> None:
        payload = b"12.5\r\n$-1\r\n*3\r\n" + bytes(range(256))
        data = bulk(b"message", b"a", payload) + bulk(b"message", b"a", b"")
        for cut in range(len(data)):
            protocol = self.subscriber()
            protocol.dataReceived(data[:cut])
            protocol.dataReceived(data[cut:])
        self.assertEqual(self.messages, [(None, b"a", payload), (None, b"a", b"")] * len(data))


@implementer(ITCPTransport)
class TcpTransport(StringTransport):  # type: ignore[misc]  # only what is used here
    """A transport that records whether it delays small writes."""

    no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled


def test_commands_are_pipelined_without_delay() -> None:
    transport = TcpTransport()
    CommandProtocol(lambda _: None).makeConnection(transport)
    assert transport.no_delay


class Socket(FileDescriptor):
    """A socket that accepts a limited number of bytes at once."""

    def __init__(self, room: int) -> None:
        clock: Any = Clock()
        super().__init__(reactor=clock)
        self.room = room
        self.sent = b""
        self.connected = 1

    def writeSomeData(self, data: bytes) -> int:
        self.sent += data[: self.room]
        return min(self.room, len(data))

    def startWriting(self) -> None: ...

    def stopWriting(self) -> None: ...


@given(st.integers(0, 60), st.lists(st.binary(max_size=20), min_size=1, max_size=40))
def test_partial_writes_continue_in_order(room: int, values: list[bytes]) -> None:
    protocol = CommandProtocol(lambda _: None)
    socket = Socket(room)
    protocol.makeConnection(socket)
    for value in values:
        protocol.execute_command(b"X", value)
    socket.room = 10_000
    while len(socket.dataBuffer) > socket.offset or socket._tempDataBuffer:
        socket.doWrite()
    assert socket.sent == b"".join(bulk(b"X", value) for value in values)


@given(
    st.lists(
        st.one_of(
            st.binary(),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_commands_are_arrays_of_bulk_strings(arguments: list[Any]) -> None:
    expected = [
        argument if isinstance(argument, bytes) else str(argument).encode()
        for argument in arguments
    ]
    protocol = CommandProtocol(lambda _: None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.execute_command(*arguments)
    assert transport.value() == bulk(*expected)
