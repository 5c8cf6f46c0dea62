"""The window: it returns the correct missed frames, or none."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from opentera_twisted.gateway.frames import Frame, together
from opentera_twisted.gateway.recovery.marker import Marker, pack_frames, unpack_frames
from opentera_twisted.gateway.recovery.window import Window
from tests.helpers.strategies import any_text

SECONDS = 60.0
LIMIT = 400


class Model(RuleBasedStateMachine):
    """A model: all frames of a connection with their times."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(SECONDS, LIMIT)
        self.added: list[tuple[float, Frame]] = []
        self.now = 1000.0
        self.count = 0

    def frames(self, sizes: list[int]) -> list[Frame]:
        self.count += 1
        return [Frame(f"{self.count}.{number}".ljust(size)) for number, size in enumerate(sizes)]

    @rule(sizes=st.lists(st.integers(1, 450), min_size=1, max_size=4))
    def add(self, sizes: list[int]) -> None:
        frames = self.frames(sizes)
        self.window.add(together(frames))
        self.added += [(self.now, frame) for frame in frames]

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def trim(self) -> None:
        self.window.trim(self.now)
        assert len(self.window._marks) <= len(self.window) + 1

    @rule(data=st.data())
    def return_(self, data: st.DataObject) -> None:
        received = data.draw(st.integers(0, len(self.added)))
        missed = self.window.since(received)
        if missed is not None:
            self.window.restart(missed)
            assert self.window.since(0) == missed  # the client may return again at once
            self.added = [(self.now, frame) for frame in missed]

    @invariant()
    def it_gives_what_was_missed_or_nothing(self) -> None:
        frames = [frame for _, frame in self.added]
        assert self.window.sent == len(frames)
        assert self.window.since(len(frames) + 1) is None
        for received in range(len(frames) + 1):
            missed = self.window.since(received)
            assert missed is None or missed == frames[received:]
            wanted = self.added[received:]
            size = sum(frame.size for _, frame in wanted)
            if size <= LIMIT and all(self.now - time < SECONDS for time, _ in wanted):
                assert missed is not None

    @invariant()
    def it_is_bounded(self) -> None:
        assert self.window.bytes == sum(frame.size for frame in self.window.frames) <= 2 * LIMIT
        assert len(self.window) == len(self.window.frames)


WindowTests = Model.TestCase


def test_frames_are_dropped_for_their_age() -> None:
    window = Window(SECONDS, LIMIT)
    window.add(Frame("a"))
    window.trim(1.0)
    window.add(Frame("b"))
    window.trim(SECONDS)
    assert window.since(0) is not None
    window.trim(SECONDS + 1)
    assert window.since(0) is None
    assert window.since(1) is not None
    window.trim(SECONDS * 2)
    assert len(window) == 0


def test_memory_of_a_batch_larger_than_the_window_is_bounded() -> None:
    window = Window(SECONDS, LIMIT)
    window.add(together([Frame(f"large batch {number}") for number in range(1_000)]))
    gc.collect()
    kept = [candidate for candidate in gc.get_objects() if isinstance(candidate, Frame)]
    own = sum(reference.size for reference in kept if reference.payload.startswith(b"large batch"))
    assert 0 < window.bytes <= own <= 2 * LIMIT


@given(st.lists(any_text(max_size=300)))
def test_frames_are_handed_over_as_they_are(texts: list[str]) -> None:
    frames = unpack_frames(pack_frames([Frame(text) for text in texts]))
    assert [frame.plain for frame in frames] == [Frame(text).plain for text in texts]


@given(st.binary(max_size=40))
def test_other_bytes_are_rejected_as_frames(data: bytes) -> None:
    with suppress(ValueError):
        unpack_frames(data)


@given(any_text(), st.text(alphabet="abc"), st.integers(0, 10**15))
def test_a_marker_is_read_as_it_was_written(number: str, text: str, received: int) -> None:
    for topics in (None, (), (number, text)):
        marker = Marker(text, text, received, text, topics)
        assert Marker.decode(marker.encode()) == marker


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"1",
        b"\xff",
        b'["a", "b", 1]',
        b'["a", "b", "1", "c"]',
        b"[" * 9999,
        b'["a", "b", 1, "c", 2]',
        b'["a", "b", 1, "c", [2]]',
        b'["a", "b", 1, "c", [], 5]',
    ],
)
def test_other_payloads_are_rejected_as_markers(payload: bytes) -> None:
    assert Marker.decode(payload) is None
