"""Counts of servers: calls, errors by code, and durations."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final

from attrs import Factory, define

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted.rpc.wire import CODES

KEPT: Final = 1000
"""Number of durations kept for each procedure."""

RETURNED: Final = "returned"

SERVED_OUTCOMES: Final = (RETURNED, *CODES)
"""Outcomes by which served calls are counted."""


@define(eq=False)
class Served:
    """Counts of the calls that one bus's servers answered; it outlives the servers.

    Calls of ``opentera.ping`` and similar procedures are not counted.

    Attributes:
        outcomes: number of calls by outcome, one of `SERVED_OUTCOMES`.
        seconds: durations of the procedures that ran.
    """

    outcomes: Counter[str] = Factory(Counter)
    seconds: Histogram = Factory(Histogram)


@define(eq=False)
class _Procedure:
    calls: int = 0
    errors: Counter[str] = Factory(Counter)
    durations: deque[float] = Factory(lambda: deque(maxlen=KEPT))


class Statistics:
    """Counts of one server; unknown procedures are counted together."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._procedures: defaultdict[str, _Procedure] = defaultdict(_Procedure)
        self._refused: Counter[str] = Counter()

    def ended(self, name: str, seconds: float, code: str | None) -> None:
        """Count a call of a procedure, with its error code or None."""
        procedure = self._procedures[name]
        procedure.calls += 1
        procedure.durations.append(seconds)
        self._served.outcomes[code or RETURNED] += 1
        self._served.seconds.add(seconds)
        if code is not None:
            procedure.errors[code] += 1

    def refused(self, code: str) -> None:
        """Count a call that was answered without running a procedure."""
        self._refused[code] += 1
        self._served.outcomes[code] += 1

    def to_json(self) -> dict[str, Any]:
        """Return all counts, and durations in seconds of each procedure's last `KEPT` calls."""
        return {
            "calls": sum(procedure.calls for procedure in self._procedures.values()),
            "refused": dict(self._refused),
            "procedures": {
                name: {
                    "calls": procedure.calls,
                    "errors": dict(procedure.errors),
                    "seconds": percentiles(procedure.durations),
                }
                for name, procedure in self._procedures.items()
            },
        }


def percentiles(durations: Iterable[float]) -> dict[str, float]:
    """Compute minimum, p50, p90, p99 and maximum of at least one duration."""
    ordered = sorted(durations)
    last = len(ordered) - 1
    return {
        "min": ordered[0],
        "p50": ordered[round(last * 0.50)],
        "p90": ordered[round(last * 0.90)],
        "p99": ordered[round(last * 0.99)],
        "max": ordered[-1],
    }
