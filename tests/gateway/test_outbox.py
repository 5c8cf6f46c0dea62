"""Frames of one or more reads: joined, ordered, once per client; against a model."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from opentera_twisted.gateway.frames import Frame, Frames
from opentera_twisted.gateway.outbox import (
    GRACE,
    GROWTH,
    HELD_DELIVERIES,
    HELD_FOR_ALL,
    HELD_FOR_ONE,
    LONGEST_HOLD,
    SHORTEST_HOLD,
    Outbox,
)
from tests.helpers.strategies import any_text


class Client:
    def __init__(self, window_bits: int = 0) -> None:
        self.window_bits = window_bits
        self.writes: list[bytes] = []

    def write(self, data: bytes, frames: Frame | Frames | None = None) -> bool:
        self.writes.append(data)
        return True

    def close(self, code: int, reason: str) -> bool:
        raise AssertionError


class Broken(Client):
    def write(self, data: bytes, frames: Frame | Frames | None = None) -> bool:
        raise OSError


@given(
    st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=20),
)
def test_each_client_gets_its_frames_in_their_order_in_one_write(
    members: list[set[int]], puts: list[int]
) -> None:
    outbox = Outbox(Clock())
    clients = [Client() for _ in range(4)]
    audiences = [tuple(clients[number] for number in sorted(numbers)) for numbers in members]
    expected: dict[Client, bytes] = {}
    for number, choice in enumerate(puts):
        audience = audiences[choice % len(audiences)]
        frame = Frame(f"frame {number}")
        outbox.put(frame, audience)
        for client in audience:
            expected[client] = expected.get(client, b"") + frame.plain
    assert not any(client.writes for client in clients), "no write before the flush"
    outbox.flush()
    for client in clients:
        assert client.writes == ([expected[client]] if client in expected else [])
    assert outbox.delivered == sum(len(audiences[put % len(audiences)]) for put in puts)


@given(
    st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([0.0, GRACE, 1.0]))),
)
def test_frames_keep_their_order_over_the_reads_of_a_burst(
    members: list[set[int]], reads: list[tuple[int, bool, float]]
) -> None:
    clock = Clock()
    outbox = Outbox(clock)
    clients = [Client() for _ in range(4)]
    audiences = [tuple(clients[number] for number in sorted(numbers)) for numbers in members]
    expected = dict.fromkeys(clients, b"")
    for number, (choice, is_full, seconds) in enumerate(reads):
        audience = audiences[choice % len(audiences)]
        frame = Frame(f"frame {number}")
        outbox.put(frame, audience)
        for client in audience:
            expected[client] += frame.plain
        outbox.read_ended(is_full)
        clock.advance(seconds)
    clock.advance(LONGEST_HOLD)
    assert {client: b"".join(client.writes) for client in clients} == expected
    assert not clock.getDelayedCalls()


def test_a_flush_writes_each_frame_once() -> None:
    outbox = Outbox(Clock())
    client = Client()
    for text in ("one", "two"):
        outbox.put(Frame(text), (client,))
        outbox.flush()
    assert client.writes == [Frame("one").plain, Frame("two").plain]


class Burst:
    """An outbox with the frames of a burst; each read brings one frame to one client."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.client = Client()
        self.outbox = Outbox(self.clock)
        self._audience = (self.client,)

    def read(self, *, is_full: bool, size: int = 0) -> int:
        """Read a frame; return the number of writes so far."""
        self.outbox.put(Frame("x" * size), self._audience)
        self.outbox.read_ended(is_full)
        return len(self.client.writes)

    def after(self, seconds: float) -> int:
        """Advance the clock; return the number of writes so far."""
        self.clock.advance(seconds)
        return len(self.client.writes)


def test_frames_wait_while_reads_are_full() -> None:
    burst = Burst()
    assert burst.read(is_full=False) == 1, "a single event does not wait"
    assert burst.read(is_full=True) == 1
    assert burst.after(0.9 * SHORTEST_HOLD) == 1
    assert burst.read(is_full=True) == 1
    assert burst.after(0.2 * SHORTEST_HOLD) == 2, "the first frame of a hold starts its time"
    assert burst.client.writes[1] == 2 * Frame("").plain
    burst.outbox.read_ended(True)
    assert not burst.clock.getDelayedCalls(), "nothing to hold"


def test_a_hold_grows_in_a_burst_and_is_bounded() -> None:
    burst = Burst()
    hold = SHORTEST_HOLD
    for number in range(1, 8):
        burst.read(is_full=True)
        assert burst.after(0.9 * hold) == number - 1
        assert burst.after(0.2 * hold) == number
        hold = min(GROWTH * hold, LONGEST_HOLD)
    burst.read(is_full=False)
    written = burst.read(is_full=True)
    assert burst.after(1.1 * SHORTEST_HOLD) == written + 1, "the next burst begins anew"


def test_held_frames_wait_shortly_for_a_redis_that_fell_behind() -> None:
    burst = Burst()
    burst.read(is_full=True)
    assert burst.read(is_full=False) == 0
    assert burst.after(0.9 * GRACE) == 0
    assert burst.read(is_full=False) == 0
    assert burst.after(1.1 * GRACE) == 1


def test_held_bytes_are_bounded() -> None:
    burst = Burst()
    assert burst.read(is_full=True, size=HELD_FOR_ONE) == 1
    outbox, clients = Outbox(Clock()), [Client() for _ in range(HELD_FOR_ALL // 60_000 + 1)]
    for client in clients:
        assert not client.writes
        outbox.put(Frame("x" * 60_000), (client,))
        outbox.read_ended(True)
    assert all(client.writes for client in clients)


def test_held_deliveries_are_bounded() -> None:
    outbox, client = Outbox(Clock()), Client()
    for _ in range(HELD_DELIVERIES // 100 + 1):
        assert not client.writes
        outbox.put(Frame(""), (client, *(Client() for _ in range(99))))
        outbox.read_ended(True)
    assert client.writes


def test_a_flush_ends_a_hold() -> None:
    burst = Burst()
    burst.read(is_full=True)
    burst.outbox.flush()
    assert len(burst.client.writes) == 1
    assert not burst.clock.getDelayedCalls()


class BrokenClientTests(TestCase):
    def test_a_failing_client_does_not_affect_others(self) -> None:
        outbox = Outbox(Clock())
        good = Client()
        outbox.put(Frame("x"), (Broken(), good))
        outbox.flush()
        assert good.writes == [Frame("x").plain]
        assert outbox.delivered == 1
        assert len(self.flushLoggedErrors(OSError)) == 1


@given(any_text(max_size=70_000), st.integers(9, 15))
def test_a_compressed_frame_holds_the_same_text(text: str, bits: int) -> None:
    frame = Frame(text).deflated(bits)
    assert frame[0] == 0xC1
    length = frame[1]
    payload = frame[2:]
    if length == 126:
        (length,) = struct.unpack("!H", payload[:2])
        payload = payload[2:]
    elif length == 127:
        (length,) = struct.unpack("!Q", payload[:8])
        payload = payload[8:]
    assert len(payload) == length
    plain = zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff")
    assert plain == text.encode()


def test_clients_with_and_without_compression_share_an_audience() -> None:
    outbox = Outbox(Clock())
    plain, compressed = Client(), Client(window_bits=10)
    frame = Frame("x" * 1000)
    outbox.put(frame, (plain, compressed))
    outbox.flush()
    assert plain.writes == [frame.plain]
    assert compressed.writes == [frame.deflated(10)]
    assert len(compressed.writes[0]) < 100
