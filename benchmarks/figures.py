"""Reported figures: samples of ours and of rivals, ratios of medians, targets."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

from attrs import Factory, define, frozen


@frozen
class Target:
    """Target of a figure.

    Attributes:
        relation: Relation to the limit.
        limit: Limit of the ratio to a rival, or else of our median.
    """

    relation: Literal["below", "at least"]
    limit: float

    def is_reached(self, value: float) -> bool:
        """Return True if the value satisfies the limit."""
        return value < self.limit if self.relation == "below" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.relation} {self.limit:g}"


@define
class Series:
    """Samples of one side, one per round."""

    who: str
    samples: list[float] = Factory(list)
    remarks: set[str] = Factory(set)

    @property
    def median(self) -> float:
        """Median of the samples."""
        return median(self.samples)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "who": self.who,
            "samples": self.samples,
            "minimum": min(self.samples),
            "median": self.median,
            "maximum": max(self.samples),
            "remarks": sorted(self.remarks),
        }


@frozen
class Ratio:
    """Ours in terms of a rival.

    Attributes:
        of_medians: Ratio of the medians of all rounds.
        lowest: Lowest ratio of a round.
        highest: Highest ratio of a round.
    """

    of_medians: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, ours: Series, rival: Series) -> Ratio:
        """Return the ratio of two series; the rival may have the first rounds only."""
        pairs = zip(ours.samples[: len(rival.samples)], rival.samples, strict=True)
        ratios = [one / other for one, other in pairs]
        return cls(ours.median / rival.median, min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.of_medians:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


@frozen
class Rival:
    """A rival of ours.

    Attributes:
        series: Its samples, interleaved with ours.
        target: Target of the ratio; None without one.
        missing: Reason why it was not measured, or an empty string.
    """

    series: Series
    target: Target | None = None
    missing: str = ""


@frozen
class Point:
    """Position of a figure in a series that differs in one size only."""

    of: str
    axis: str
    size: float


@frozen
class Figure:
    """One thing measured of ours, and of rivals when there are any.

    Attributes:
        scenario: Scenario of the figure.
        name: Measured quantity.
        unit: Unit of the samples.
        ours: samples of ours.
        rivals: Rivals of ours.
        target: Target of our median; None without one.
        point: Position in a series of sizes; None outside one.
    """

    scenario: str
    name: str
    unit: str
    ours: Series
    rivals: Sequence[Rival] = ()
    target: Target | None = None
    point: Point | None = None

    def ratio(self, rival: Rival) -> Ratio | None:
        """Ours in terms of one of the rivals; None when that was not measured."""
        return None if rival.missing else Ratio.of(self.ours, rival.series)

    def is_reached(self, rival: Rival | None = None) -> bool | None:
        """Return True if the target beside a rival, or our own, is reached; None without one."""
        if rival is None:
            return None if self.target is None else self.target.is_reached(self.ours.median)
        ratio = self.ratio(rival)
        if rival.target is None or ratio is None:
            return None
        return rival.target.is_reached(ratio.of_medians)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "scenario": self.scenario,
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours.as_json(),
            "target": None if self.target is None else str(self.target),
            "reached": self.is_reached(),
            "rivals": [self._rival_as_json(rival) for rival in self.rivals],
        }

    def _rival_as_json(self, rival: Rival) -> dict[str, Any]:
        ratio = self.ratio(rival)
        if ratio is None:
            return {"who": rival.series.who, "not measured": rival.missing}
        return {
            **rival.series.as_json(),
            "ratio": {
                "of medians": ratio.of_medians,
                "lowest": ratio.lowest,
                "highest": ratio.highest,
            },
            "target": None if rival.target is None else str(rival.target),
            "reached": self.is_reached(rival),
        }


@define
class Results:
    """All that one run of the benchmarks has given so far.

    Attributes:
        machine: facts of it and versions, by name.
        figures: Figures of completed scenarios.
        seconds: Seconds of each scenario.
        failed: Reasons why scenarios have no figures.
    """

    machine: dict[str, str]
    figures: list[Figure] = Factory(list)
    seconds: dict[str, float] = Factory(dict)
    failed: dict[str, str] = Factory(dict)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "machine": self.machine,
            "seconds": {name: round(seconds) for name, seconds in self.seconds.items()},
            "failed": self.failed,
            "figures": [figure.as_json() for figure in self.figures],
        }
