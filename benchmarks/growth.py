"""Costs of one event at our gateway as clients, topics and messages grow by tens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.children import allow_files
from benchmarks.deliveries import Connected, connected, connected_to_both
from benchmarks.exponents import exponent, steepest
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.gateways import Audience, ours
from benchmarks.scenario import Setting, rotated

NAME: Final = "growth"
ROUNDS: Final = 2
TARGET: Final = Target("below", 1.1)
"""Nothing worse than in proportion."""

CLIENTS: Final = (10, 100, 1_000, 10_000)
SIZES: Final = (1_000, 10_000, 100_000)
"""Numbers of clients, and bytes of a message: each ten times the one before."""

CLIENTS_OF_SIZES: Final = 100

_SHARED: Final = "clients of one topic"
_PERSONAL: Final = "topics, one client each"
_SIZE: Final = f"bytes of a message to {CLIENTS_OF_SIZES} clients"

Costs = dict[str, float]
"""Microseconds of the gateway's processor time for one event, by what grows."""


def run(setting: Setting) -> list[Figure]:
    """Measure all sizes of a thing in each round, each round in another order."""
    allow_files()
    return [
        *_grow(setting, CLIENTS, (_SHARED, _PERSONAL), _of_clients),
        *_grow(setting, SIZES, (_SIZE,), _of_sizes),
    ]


def _grow(
    setting: Setting,
    sizes: Sequence[int],
    things: Sequence[str],
    measure: Callable[[Setting, int], Costs],
) -> list[Figure]:
    if setting.quick:
        sizes = sizes[:2]
    costs = {(what, size): Series("ours: twistd process") for what in things for size in sizes}
    overall = {what: Series(f"from {sizes[0]:,} to {sizes[-1]:,}") for what in things}
    steps = {what: Series("from one size to the next, ten times as large") for what in things}
    for number in setting.each_round(f"{NAME}, {' and '.join(things)}"):
        measured = {size: measure(setting, size) for size in rotated(sizes, number)}
        for what in things:
            in_order = [measured[size][what] for size in sizes]
            for size, cost in zip(sizes, in_order, strict=True):
                costs[what, size].samples.append(cost)
            overall[what].samples.append(exponent(sizes, in_order))
            steps[what].samples.append(steepest(sizes, in_order))
    figures = []
    for what in things:
        figures += [
            Figure(
                NAME,
                f"cost of an event, {size:,} {what}",
                "µs",
                costs[what, size],
                point=Point(f"cost of an event, {what}", what, size),
            )
            for size in sizes
        ]
        figures += [
            Figure(NAME, f"exponent of that cost, {what}", "power", overall[what]),
            Figure(
                NAME, f"steepest step of that cost, {what}", "power", steps[what], target=TARGET
            ),
        ]
    return figures


def _of_clients(setting: Setting, clients: int) -> Costs:
    with connected_to_both(ours, setting, clients) as (shared, personal):
        bursts = max(2, min(40, 20_000 // clients))
        return {
            _SHARED: _cost(shared, clients, 20, bursts),
            _PERSONAL: _cost(personal, 1, 10_000 // clients, 2),
        }


def _of_sizes(setting: Setting, size: int) -> Costs:
    with connected(ours, setting, Audience.shared(CLIENTS_OF_SIZES, size)) as gateway:
        return {_SIZE: _cost(gateway, CLIENTS_OF_SIZES, 4, 25)}


def _cost(gateway: Connected, receivers: int, each: int, times: int) -> float:
    """Cost of one event, however many receive it."""
    return gateway.measure(each, times=times).cost * receivers
