"""Counts of lost and doubled events, and of growth, in the endurance test."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from .footprint import Footprint, growths
from .people import Numbers

AMOUNTS = st.lists(st.integers(70, 75), min_size=8, max_size=40)


def held(memory: Sequence[float]) -> list[Footprint]:
    """Return the samples of a process whose memory changes and whose files do not."""
    return [Footprint(amount, 50_000, 20) for amount in memory]


class TestGrowth:
    @given(AMOUNTS)
    def test_what_varies_by_little_is_level(self, memory: list[int]) -> None:
        assert growths(held(memory)) == []

    @given(AMOUNTS)
    def test_what_a_start_fills_is_level(self, memory: list[int]) -> None:
        quarter = len(memory) // 4
        assert growths(held([40] * quarter + memory[quarter:])) == []

    @given(st.integers(8, 400), st.floats(1.5, 10))
    def test_steady_growth_is_named(self, count: int, times: float) -> None:
        memory = [50 * (1 + times * number / count) for number in range(count)]
        (growth,) = growths(held(memory))
        assert growth.startswith("memory grew from ")

    def test_files_that_stay_open_are_named(self) -> None:
        samples = [Footprint(70, 50_000, 20 + number) for number in range(40)]
        assert growths(samples) == ["files grew from 34 to 54"]


class TestNumbers:
    @given(st.lists(st.booleans(), max_size=30))
    def test_a_lost_event_is_a_fault_without_a_gap(self, arrives: list[bool]) -> None:
        for has_gap in (False, True):
            numbers = Numbers()
            faults = [numbers.receive(numbers.next()) for arrived in arrives if arrived]
            assert not any(faults)
            numbers.next()
            if has_gap:
                numbers.gap()
            assert bool(numbers.receive(numbers.next())) is not has_gap
            assert numbers.missed == has_gap

    def test_a_gap_covers_only_the_next_event(self) -> None:
        numbers = Numbers()
        numbers.gap()
        assert numbers.receive(numbers.next()) == ""
        numbers.next()
        assert numbers.receive(numbers.next()) == "events 2 to 2 are missing, without a gap"

    def test_a_doubled_and_an_unknown_event_are_faults(self) -> None:
        numbers = Numbers()
        number = numbers.next()
        assert numbers.receive(number) == ""
        assert numbers.receive(number) == "event 1 came after event 1"
        assert numbers.receive(number + 1) == "event 2 came after event 1"

    def test_an_event_that_was_perhaps_not_published_may_be_missing(self) -> None:
        numbers = Numbers()
        numbers.not_published(numbers.next())
        assert numbers.receive(numbers.next()) == ""
        assert numbers.missed == 0
