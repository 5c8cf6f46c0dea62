"""Calls per second: ours with 64 in flight against a deployed caller's one after another."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Series, Target
from benchmarks.scenario import SERVICE, TOPIC, Setting

NAME: Final = "call-throughput"
TARGET: Final = Target("at least", 20.0)
IN_FLIGHT: Final = 64
OUR_CALLS: Final = 20_000
DEPLOYED_CALLS: Final = 3_000

_DEPLOYED_TOPIC: Final = TOPIC.replace(SERVICE, "deployed")


def run(setting: Setting) -> list[Figure]:
    """Measure against callers of two shapes, and against a server of the deployed shape."""
    ours = Series(f"ours: Bus with {IN_FLIGHT} in flight, our server process")
    rivals = {
        (TOPIC, "each"): Series("deployed: redis-py, call by call, our server process"),
        (_DEPLOYED_TOPIC, "each"): Series("deployed: redis-py, call by call, deployed server"),
        (TOPIC, "once"): Series("redis-py, call by call, subscribed once, our server process"),
    }
    our_options = {"url": setting.url, "service": SERVICE}
    our_calls, calls = setting.amount(OUR_CALLS), setting.amount(DEPLOYED_CALLS)
    our_amount = {"calls": our_calls, "warm_up": our_calls // 10, "in_flight": IN_FLIGHT}
    amount = {"port": setting.port, "calls": calls, "warm_up": calls // 10}
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **our_options)).report()
        server = program("deployed_server", port=setting.port, topic=_DEPLOYED_TOPIC)
        stack.enter_context(server).report()
        for _ in setting.each_round(NAME):
            report = measured("our_caller", **our_options, **our_amount)
            ours.samples.append(report["per_second"])
            for (topic, subscribe), series in rivals.items():
                options = {**amount, "topic": topic, "subscribe": subscribe}
                report = measured("deployed_caller", **options)
                series.samples.append(report["per_second"])
    same, own, kept = rivals.values()
    return [
        Figure(NAME, "deployed caller", "calls/s", ours, same, TARGET),
        Figure(NAME, "deployed caller and server", "calls/s", ours, own),
        Figure(NAME, "caller that keeps its subscription", "calls/s", ours, kept),
    ]
