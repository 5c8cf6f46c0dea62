"""Calls beside the request and reply of nats.py on Debian's nats-server."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks import rivals
from benchmarks.children import measured, program
from benchmarks.figures import Figure, Series, Target
from benchmarks.scenario import SERVICE, Setting

NAME: Final = "calls-beside-nats"
CALLS: Final = 5_000
CALLS_IN_FLIGHT: Final = 20_000
IN_FLIGHT: Final = 64
SUBJECT: Final = "bench.add"

_OURS: Final = "ours: Bus in both processes, over Redis"
_NATS: Final = "nats.py: request in one process, reply in another, over nats-server"


def run(setting: Setting) -> list[Figure]:
    """Measure one call after another, and many in flight."""
    latency = Figure(NAME, "p50", "µs", Series(_OURS), Series(_NATS), Target("below", 1.0))
    throughput = Figure(
        NAME,
        f"{IN_FLIGHT} in flight",
        "calls/s",
        Series(_OURS),
        Series(_NATS),
        Target("at least", 1.0),
    )
    loads = (
        (latency, "p50", setting.amount(CALLS), 1),
        (throughput, "per_second", setting.amount(CALLS_IN_FLIGHT), IN_FLIGHT),
    )
    ours = {"url": setting.url, "service": SERVICE}
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **ours)).report()
        try:
            python = rivals.python()
            nats = {"port": stack.enter_context(rivals.nats_server()), "subject": SUBJECT}
            stack.enter_context(program("nats_responder", python, **nats)).report()
        except rivals.NotMeasuredError as error:
            return [figure.without_rival(str(error)) for figure in (latency, throughput)]
        for _ in setting.each_round(NAME):
            for figure, what, calls, in_flight in loads:
                amount = {"calls": calls, "warm_up": calls // 10, "in_flight": in_flight}
                figure.ours.samples.append(measured("our_caller", **ours, **amount)[what])
                assert figure.rival is not None
                report = measured("nats_requester", python, **nats, **amount)
                figure.rival.samples.append(report[what])
    return [latency, throughput]
