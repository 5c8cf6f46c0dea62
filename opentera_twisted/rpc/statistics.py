"""What servers count: calls, errors by code, and how long calls took."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final

from attrs import Factory, define

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted.rpc.wire import CODES

KEPT: Final = 1000
"""Calls of one procedure whose durations are kept."""

RETURNED: Final = "returned"

SERVED_OUTCOMES: Final = (RETURNED, *CODES)
"""What is counted as the outcome of a call that was served."""


@define(eq=False)
class Served:
    """Calls that the servers of one bus answered; it outlives them.

    Those of ``opentera.ping`` and the like are not counted.

    Attributes:
        outcomes: how many ended how: one of `SERVED_OUTCOMES`.
        seconds: that procedures ran, of the calls that had one run.
    """

    outcomes: Counter[str] = Factory(Counter)
    seconds: Histogram = Factory(Histogram)


@define(eq=False)
class _Procedure:
    calls: int = 0
    errors: Counter[str] = Factory(Counter)
    durations: deque[float] = Factory(lambda: deque(maxlen=KEPT))


class Statistics:
    """Counts of one server; procedures it does not have are counted together.

    Args:
        served: where its calls are counted too.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._procedures: defaultdict[str, _Procedure] = defaultdict(_Procedure)
        self._refused: Counter[str] = Counter()

    def ended(self, name: str, seconds: float, code: str | None) -> None:
        """A call of a procedure was answered, with an error's code or a value."""
        procedure = self._procedures[name]
        procedure.calls += 1
        procedure.durations.append(seconds)
        self._served.outcomes[code or RETURNED] += 1
        self._served.seconds.add(seconds)
        if code is not None:
            procedure.errors[code] += 1

    def refused(self, code: str) -> None:
        """A call was answered without running a procedure."""
        self._refused[code] += 1
        self._served.outcomes[code] += 1

    def to_json(self) -> dict[str, Any]:
        """All counts; durations in seconds, of the last `KEPT` calls of each procedure."""
        return {
            "calls": sum(one.calls for one in self._procedures.values()),
            "refused": dict(self._refused),
            "procedures": {
                name: {
                    "calls": one.calls,
                    "errors": dict(one.errors),
                    "seconds": percentiles(one.durations),
                }
                for name, one in self._procedures.items()
            },
        }


def percentiles(durations: Iterable[float]) -> dict[str, float]:
    """Minimum, p50, p90, p99 and maximum of at least one duration."""
    ordered = sorted(durations)
    last = len(ordered) - 1
    return {
        "min": ordered[0],
        "p50": ordered[round(last * 0.50)],
        "p90": ordered[round(last * 0.90)],
        "p99": ordered[round(last * 0.99)],
        "max": ordered[-1],
    }
