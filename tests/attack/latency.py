"""The delay of the honest client's events while 300 hostile ones do their worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from .arena import Arena
from .crowd import ATTACKS, CLIENTS, crowd
from .turns import Longest

EVENTS = 1000
INTERVAL = 0.01
"""Seconds between events."""

ROW = "{:<24}{:>10}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}"


def measure_latency(progress: Callable[[str], None], *kinds: str) -> str:
    """Measure delays without an attack and with each kind of it, in one run.

    Args:
        progress: Called with a line of progress now and then.
        kinds: Names of attacks; all when empty.

    Returns:
        A table in milliseconds: median and 99th percentile of the delay, and their ratios. It
        also has the reactor's longest turn, the most processor time of a turn, and the longest
        garbage collection.

    Raises:
        AssertionError: An event was lost, or a check of the gateway failed.
    """
    rows = [ROW.format("ms", "p50", "p99", "p50 ratio", "p99 ratio", "turn", "processor", "gc")]
    with Arena("--max-clients-per-identity", "0") as arena:
        arena.turns.take()
        calm = _delays(arena)
        rows.append(ROW.format("no attack", *_texts(calm), "1", "1", *_turns(arena.turns.take())))
        for kind in kinds or ATTACKS:
            progress(f"latency: {CLIENTS} clients attack with {kind}")
            with crowd(arena.server.port, arena.port, kind):
                arena.turns.take()
                delays = _delays(arena)
                longest = arena.turns.take()
            ratios = [f"{_part(delays, part) / _part(calm, part):.1f}" for part in (0.5, 0.99)]
            rows.append(ROW.format(kind, *_texts(delays), *ratios, *_turns(longest)))
            progress(rows[-1])
            arena.check()
        found = arena.check()
    return "\n".join([*rows, f"latency: {found}"])


def _delays(arena: Arena) -> list[float]:
    """Return the sorted seconds from publication to arrival."""
    first = len(arena.published)
    pace = Event()
    for _ in range(EVENTS):
        arena.publish()
        pace.wait(INTERVAL)
    arena.witnessed()
    pairs = zip(arena.published[first:], arena.witness.arrivals[first:], strict=True)
    return sorted(arrived - published for published, arrived in pairs)


def _part(delays: Sequence[float], part: float) -> float:
    return delays[int(part * len(delays))]


def _texts(delays: Sequence[float]) -> list[str]:
    return [f"{_part(delays, part) * 1000:.1f}" for part in (0.5, 0.99)]


def _turns(longest: Longest) -> list[str]:
    return [f"{seconds * 1000:.1f}" for seconds in longest]
