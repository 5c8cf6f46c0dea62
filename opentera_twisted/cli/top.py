"""``opentera-bus top``: message rates by topic, live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from opentera_twisted._internal.gathered import gathered
from opentera_twisted._internal.printable import printable
from opentera_twisted.bus import Bus
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.rates import Rate, Rates
from opentera_twisted.cli.run import Work, command
from opentera_twisted.cli.seconds import Seconds
from opentera_twisted.cli.stream import report_gaps
from opentera_twisted.cli.values import is_terminal, print_json
from opentera_twisted.errors import BusError
from opentera_twisted.holders import PROBE
from opentera_twisted.program.redis_checks.info import parse_info
from opentera_twisted.pubsub import Delivery

_SHOWN: Final = {
    "commands_per_second": "instantaneous_ops_per_sec",
    "clients": "connected_clients",
    "subscribers": "pubsub_clients",
    "memory_bytes": "used_memory",
}
"""Figures of Redis, each with its field in INFO."""

_FRAME: Final = 6
"""Lines of the screen that do not show topics."""


@cli.command()
@click.option(
    "--interval",
    type=Seconds(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds over which rates are measured.",
)
@click.option("--once", is_flag=True, help="Print the rates of one interval as JSON.")
@command
def top(interval: float, once: bool) -> Work:
    """Show message rates by topic.

    Live on a terminal, until Ctrl-C. In a pipe, or with --once, prints one interval as JSON.
    Redis sends every published message to this command while it runs.

    \b
    opentera-bus top
    opentera-bus top --once --interval 10 | jq '.topics[0]'
    """  # noqa: D301 (click takes the character itself)

    async def work(bus: Bus) -> None:
        reactor: Any = bus.link.reactor
        clock = bus.link.clock
        rates = Rates(clock.seconds())

        def received(delivery: Delivery) -> None:
            if delivery.payload != PROBE:  # gateways count listeners with it
                rates.add(delivery.topic, len(delivery.payload))

        await bus.subscribe_pattern("*", received)
        rates.read(clock.seconds())
        if once or not is_terminal():
            await deferLater(clock, interval)
            measured = rates.read(clock.seconds())
            print_json(_object(interval, measured, await _redis(bus)))
            return
        report_gaps(bus, "messages in between are not counted")
        live = Live(console=Console(), screen=True, auto_refresh=False)
        # Ctrl-C stops the reactor without ending this coroutine.
        reactor.addSystemEventTrigger("before", "shutdown", live.stop)

        async def draw() -> None:
            redis = await _redis(bus)
            height = max(1, live.console.height - _FRAME)
            live.update(_screen(rates.read(clock.seconds()), redis, height), refresh=True)

        with live:
            drawing = LoopingCall(lambda: Deferred.fromCoroutine(draw()))
            drawing.clock = clock
            await drawing.start(interval)

    return work


async def _redis(bus: Bus) -> Mapping[str, int]:
    """Read figures of Redis, summed over the nodes of a cluster; none without the link or right."""
    links = list(bus.link.nodes.values()) or [bus.link]
    try:
        replies = await gathered(link.execute("INFO") for link in links)
    except BusError:
        return {}
    infos = list(map(parse_info, replies))
    return {
        name: sum(int(info[field]) for info in infos)
        for name, field in _SHOWN.items()
        if all(field in info for info in infos)
    }


def _object(
    interval: float, rates: Sequence[Rate], redis: Mapping[str, int]
) -> Mapping[str, object]:
    return {
        "seconds": interval,
        "messages_per_second": sum(rate.messages for rate in rates),
        "bytes_per_second": sum(rate.bytes for rate in rates),
        "topics": [
            {
                "topic": rate.topic,
                "messages_per_second": rate.messages,
                "bytes_per_second": rate.bytes,
            }
            for rate in rates
        ],
        "redis": redis,
    }


def _screen(rates: Sequence[Rate], redis: Mapping[str, int], height: int) -> Group:
    """Lay out the totals above the busiest topics."""
    facts = [
        f"{sum(rate.messages for rate in rates):,.0f} messages/s",
        f"{_size(sum(rate.bytes for rate in rates))}/s",
        *(_fact(name, value) for name, value in redis.items()),
    ]
    table = Table("topic", box=None, expand=True)
    for column in ("messages/s", "size/s", "messages"):
        table.add_column(column, justify="right")
    for rate in rates[:height]:
        table.add_row(
            Text(printable(rate.topic, ""), no_wrap=True, overflow="ellipsis"),
            f"{rate.messages:,.1f}",
            f"{_size(rate.bytes)}/s",
            f"{rate.total:,}",
        )
    return Group(Text("   ".join(facts), style="bold"), "", table)


def _fact(name: str, value: int) -> str:
    """Return a figure of Redis with its unit."""
    if name == "memory_bytes":
        return f"{_size(value)} of memory"
    return f"{value:,} {name.replace('_per_second', '/s')}"


def _size(count: float) -> str:
    """Return bytes in a unit that leaves at most four digits."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
