"""Events to many websockets, on one topic or one each: ours beside other gateways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from benchmarks.children import allow_files
from benchmarks.comparison import CEILING, Comparison, Measured
from benchmarks.deliveries import Connected, Delivered, connected, connected_to_both
from benchmarks.figures import Figure, Point, Target
from benchmarks.gateways import Audience, Start
from benchmarks.scenario import Setting

NAME: Final = "fan-out"
ROUNDS: Final = 3
TARGET: Final = Target("at least", 1.0)
WEBSOCKETS: Final = (100, 1_000, 5_000)
QUICK_WEBSOCKETS: Final = (1_000,)

BURST_DELIVERIES: Final = 200_000
"""In one burst, to all websockets together."""

BURST_EVENTS: Final = 1_000
"""In one burst, at most: more than that may wait for a client as long as it takes it all."""

DELIVERIES: Final = 1_000_000
"""In all bursts of one measurement; slow gateways get fewer."""

PACE: Final = 0.002
"""Seconds between events that are paced."""

PACED_DELIVERIES: Final = 500_000
PACED_EVENTS: Final = 500

PERSONAL_DELIVERIES: Final = 50_000
"""In one burst, each on a topic of its own."""


@frozen
class Quantity:
    """A reported quantity of deliveries."""

    what: str
    unit: str
    value: Callable[[Delivered], float]
    beside: Target | None = None


QUANTITIES: Final = (
    Quantity("deliveries", "events/s", lambda delivered: delivered.per_second, TARGET),
    Quantity("gateway's processor time", "µs/event", lambda delivered: delivered.cost),
    Quantity("load generator's share", "% of a core", lambda delivered: 100 * delivered.load),
)

ONE_TOPIC_EACH: Final = (CEILING, "nchan")
"""Gateways that know no topics, or deliver in another way to a client with two of them."""

Loads = Mapping[str, tuple[int, float, int]]
"""By name: events for each websocket, seconds between them, how often."""


def run(setting: Setting) -> list[Figure]:
    """Measure new gateways each round, all with as many websockets."""
    allow_files()
    figures = []
    for count in QUICK_WEBSOCKETS if setting.quick else WEBSOCKETS:
        figures += _compare(setting, count)
    return figures


def _one_topic(count: int) -> Loads:
    burst = min(BURST_EVENTS, BURST_DELIVERIES // count)
    paced = min(PACED_EVENTS, PACED_DELIVERIES // count)
    return {
        "one topic, burst": (burst, 0.0, DELIVERIES // (burst * count)),
        "one topic, paced": (paced, PACE, 1),
    }


def _personal(count: int) -> Loads:
    return {"personal topics, burst": (PERSONAL_DELIVERIES // count, 0.0, 1)}


def _compare(setting: Setting, count: int) -> list[Figure]:
    """All gateways with as many websockets."""
    comparison = Comparison.of(setting, ceiling=True)
    shared, personal = _one_topic(count), _personal(count)

    def name_of(load: str, quantity: Quantity) -> str:
        return f"{load}, {count:,} websockets: {quantity.what}"

    def measure(name: str, start: Start) -> Measured:
        if name in ONE_TOPIC_EACH:
            delivered: dict[str, Delivered] = {}
            separate = [(Audience.shared(count), shared)]
            if name != CEILING:
                separate.append((Audience.personal(count), personal))
            for audience, loads in separate:
                with connected(start, setting, audience) as gateway:
                    delivered |= _deliver(gateway, loads)
                    who = gateway.side.who
        else:
            with connected_to_both(start, setting, count) as (gateway, of_its_own):
                delivered = _deliver(gateway, shared) | _deliver(of_its_own, personal)
                who = gateway.side.who
        values = {
            name_of(load, quantity): quantity.value(measured)
            for load, measured in delivered.items()
            for quantity in QUANTITIES
        }
        is_complete = not any(measured.lost for measured in delivered.values())
        return Measured(who, values, "" if is_complete else "not all was delivered")

    comparison.run(setting, f"{NAME}, {count:,} websockets", measure)
    return [
        comparison.figure(
            NAME,
            name_of(load, quantity),
            quantity.unit,
            beside=quantity.beside,
            point=Point(f"{load}: {quantity.what}", "websockets", count),
        )
        for load in (*shared, *personal)
        for quantity in QUANTITIES
    ]


def _deliver(gateway: Connected, loads: Loads) -> dict[str, Delivered]:
    return {load: gateway.measure(*amount) for load, amount in loads.items()}
