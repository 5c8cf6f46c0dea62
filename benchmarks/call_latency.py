"""One call in flight: ours against bare sockets that exchange as many bytes over the same Redis."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final
from uuid import uuid4

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Series, Target
from benchmarks.scenario import SERVICE, TOPIC, Setting
from opentera_twisted.rpc.wire import decode_request, encode_reply, encode_request

NAME: Final = "call-latency"
TARGET: Final = Target("below", 2.5)
CALLS: Final = 5_000

_OURS: Final = "ours: Bus in a caller process, Redis, Bus in a server process"
_FLOOR: Final = "floor: bare blocking sockets in both processes, same bytes over Redis"


def run(setting: Setting) -> list[Figure]:
    """Measure the percentiles of one call's time."""
    figures = {
        "p50": Figure(NAME, "p50", "µs", Series(_OURS), Series(_FLOOR), TARGET),
        "p99": Figure(NAME, "p99", "µs", Series(_OURS), Series(_FLOOR)),
    }
    calls = setting.amount(CALLS)
    amount = {"calls": calls, "warm_up": calls // 10}
    ours = {"url": setting.url, "service": SERVICE}
    floor = {"port": setting.port, **_same_sizes()}
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **ours)).report()
        stack.enter_context(program("floor_server", **floor)).report()
        for _ in setting.each_round(NAME):
            our_report = measured("our_caller", **ours, **amount, in_flight=1)
            floor_report = measured("floor_caller", **floor, **amount)
            for percentile, figure in figures.items():
                figure.ours.samples.append(our_report[percentile])
                assert figure.rival is not None
                figure.rival.samples.append(floor_report[percentile])
    return list(figures.values())


def _same_sizes() -> dict[str, Any]:
    """Channels and payloads of the floor: as long as those of a call of ours."""
    reply_to = f"RedisRPCClient.{uuid4()}"
    payload = encode_request("add", reply_to, CALLS, (CALLS, 1))
    request = decode_request(payload)
    assert request is not None
    return {
        "topic": TOPIC.replace(SERVICE, "floor"),
        "reply_to": reply_to,
        "request_size": len(payload),
        "reply_size": len(encode_reply(request, TOPIC, CALLS + 1)),
    }
