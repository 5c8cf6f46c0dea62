"""What is reported: samples of ours and of the rival, the ratio of their medians, the target."""

from __future__ import annotations

from statistics import median
from typing import Any, Literal

from attrs import Factory, define, frozen


@frozen
class Target:
    """What a figure should reach.

    Attributes:
        relation: to the limit.
        limit: of the ratio when there is a rival, else of our median.
    """

    relation: Literal["below", "at least"]
    limit: float

    def is_reached(self, value: float) -> bool:
        """Whether that value is on the right side of the limit."""
        return value < self.limit if self.relation == "below" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.relation} {self.limit:g}"


@define
class Series:
    """What was measured of one side, once a round.

    Attributes:
        who: what was measured, and in which processes.
        samples: one a round.
    """

    who: str
    samples: list[float] = Factory(list)

    @property
    def median(self) -> float:
        """Of the samples."""
        return median(self.samples)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "who": self.who,
            "samples": self.samples,
            "minimum": min(self.samples),
            "median": self.median,
            "maximum": max(self.samples),
        }


@frozen
class Figure:
    """One thing measured of ours, and of a rival when there is one.

    Attributes:
        scenario: whose figure it is.
        name: what is measured.
        unit: of the samples.
        ours: samples of ours.
        rival: samples of what ours is compared with, interleaved with ours.
        target: None for what is only told.
        missing: why the rival was not measured; empty when it was.
    """

    scenario: str
    name: str
    unit: str
    ours: Series
    rival: Series | None = None
    target: Target | None = None
    missing: str = ""

    @property
    def ratio(self) -> float | None:
        """Our median in terms of the rival's."""
        if self.rival is None or self.missing:
            return None
        return self.ours.median / self.rival.median

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached, when there is one."""
        if self.target is None or self.missing:
            return None
        return self.target.is_reached(self.ours.median if self.ratio is None else self.ratio)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        if self.missing:
            return {"scenario": self.scenario, "name": self.name, "not measured": self.missing}
        return {
            "scenario": self.scenario,
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours.as_json(),
            "rival": None if self.rival is None else self.rival.as_json(),
            "ratio": self.ratio,
            "target": None if self.target is None else str(self.target),
            "reached": self.is_reached,
        }
