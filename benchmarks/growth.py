"""Costs of one event at our gateway as clients, topics and messages grow by tens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from benchmarks.children import allow_files
from benchmarks.deliveries import connected
from benchmarks.exponents import exponent, steepest
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.gateways import Audience, ours
from benchmarks.scenario import Setting, rotated

NAME: Final = "growth"
ROUNDS: Final = 2
TARGET: Final = Target("below", 1.1)
"""Nothing worse than in proportion."""

CLIENTS_OF_SIZES: Final = 100


@frozen
class Growth:
    """One thing that grows.

    Attributes:
        what: Name of the size.
        sizes: each ten times the one before.
        audience: Makes the audience of a size.
        events: Returns, for a size, the events per websocket in a burst and the bursts.
    """

    what: str
    sizes: tuple[int, ...]
    audience: Callable[[int], Audience]
    events: Callable[[int], tuple[int, int]]


_GROWTHS: Final = (
    Growth(
        "clients of one topic",
        (10, 100, 1_000, 10_000),
        Audience.shared,
        lambda clients: (20, max(2, min(40, 20_000 // clients))),
    ),
    Growth(
        "topics, one client each",
        (10, 100, 1_000, 10_000),
        Audience.personal,
        lambda topics: (10_000 // topics, 2),
    ),
    Growth(
        f"bytes of a message to {CLIENTS_OF_SIZES} clients",
        (1_000, 10_000, 100_000),
        lambda size: Audience.shared(CLIENTS_OF_SIZES, size),
        lambda _: (4, 25),
    ),
)


def run(setting: Setting) -> list[Figure]:
    """Measure all sizes of one thing in each round, each round in another order."""
    allow_files()
    figures = []
    for growth in _GROWTHS:
        figures += _grow(setting, growth)
    return figures


def _grow(setting: Setting, growth: Growth) -> list[Figure]:
    sizes = growth.sizes[:2] if setting.quick else growth.sizes
    costs = {size: Series("ours: twistd process") for size in sizes}
    overall = Series(f"from {sizes[0]:,} to {sizes[-1]:,}")
    steps = Series("from one size to the next, ten times as large")
    for number in setting.each_round(f"{NAME}, {growth.what}"):
        measured = {size: _cost(setting, growth, size) for size in rotated(sizes, number)}
        for size, cost in measured.items():
            costs[size].samples.append(cost)
        in_order = [measured[size] for size in sizes]
        overall.samples.append(exponent(sizes, in_order))
        steps.samples.append(steepest(sizes, in_order))
    figures = [
        Figure(
            NAME,
            f"cost of an event, {size:,} {growth.what}",
            "µs",
            series,
            point=Point(f"cost of an event, {growth.what}", growth.what, size),
        )
        for size, series in costs.items()
    ]
    return [
        *figures,
        Figure(NAME, f"exponent of that cost, {growth.what}", "power", overall),
        Figure(NAME, f"steepest step of that cost, {growth.what}", "power", steps, target=TARGET),
    ]


def _cost(setting: Setting, growth: Growth, size: int) -> float:
    """Microseconds of the gateway's processor time for one event, however many receive it."""
    audience = growth.audience(size)
    with connected(ours, setting, audience) as gateway:
        each, times = growth.events(size)
        measured = gateway.measure(each, times=times)
    receivers = len(audience.topics) / len(audience.published)
    return measured.cost * receivers
