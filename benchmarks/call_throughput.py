"""Calls per second with 64 in flight: ours against deployed callers' one by one, and nats.py."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Series, Target
from benchmarks.rivals import NotMeasuredError, nats_requests
from benchmarks.scenario import SERVICE, TOPIC, Setting

NAME: Final = "call-throughput"
TARGET: Final = Target("at least", 20.0)
NATS_TARGET: Final = Target("at least", 1.0)
IN_FLIGHT: Final = 64
OUR_CALLS: Final = 20_000
DEPLOYED_CALLS: Final = 3_000

_DEPLOYED_TOPIC: Final = TOPIC.replace(SERVICE, "deployed")


def run(setting: Setting) -> list[Figure]:
    """Measure against deployed callers and servers, and against requests of nats.py."""
    ours = Series(f"ours: Bus with {IN_FLIGHT} in flight, our server process")
    rivals = {
        (TOPIC, "each"): Series("deployed: redis-py, call by call, our server process"),
        (_DEPLOYED_TOPIC, "each"): Series("deployed: redis-py, call by call, deployed server"),
        (TOPIC, "once"): Series("redis-py, call by call, subscribed once, our server process"),
    }
    nats, missing = Series("nats.py"), ""
    our_options = {"url": setting.url, "service": SERVICE}
    our_calls, calls = setting.amount(OUR_CALLS), setting.amount(DEPLOYED_CALLS)
    our_amount = {"calls": our_calls, "warm_up": our_calls // 10, "in_flight": IN_FLIGHT}
    amount = {"port": setting.port, "calls": calls, "warm_up": calls // 10}
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **our_options)).report()
        server = program("deployed_server", port=setting.port, topic=_DEPLOYED_TOPIC)
        stack.enter_context(server).report()
        try:
            requests = stack.enter_context(nats_requests())
            nats.who = f"{requests.who}, {IN_FLIGHT} in flight"
        except NotMeasuredError as error:
            missing = str(error)
        for _ in setting.each_round(NAME):
            report = measured("our_caller", **our_options, **our_amount)
            ours.samples.append(report["per_second"])
            if not missing:
                nats.samples.append(requests.measure(**our_amount)["per_second"])
            for (topic, subscribe), series in rivals.items():
                options = {**amount, "topic": topic, "subscribe": subscribe}
                report = measured("deployed_caller", **options)
                series.samples.append(report["per_second"])
    same, own, kept = rivals.values()
    return [
        Figure(NAME, "deployed caller", "calls/s", ours, same, TARGET),
        Figure(NAME, "deployed caller and server", "calls/s", ours, own),
        Figure(NAME, "caller that keeps its subscription", "calls/s", ours, kept),
        Figure(NAME, "beside nats.py", "calls/s", ours, nats, NATS_TARGET, missing),
    ]
