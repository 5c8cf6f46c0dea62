"""What is reported: samples of ours and of rivals, the ratios of their medians, the targets."""

from __future__ import annotations

from collections.abc import Sequence
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
        remarks: what else to know of them.
    """

    who: str
    samples: list[float] = Factory(list)
    remarks: set[str] = Factory(set)

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
            "remarks": sorted(self.remarks),
        }


@frozen
class Ratio:
    """Ours in terms of a rival.

    Attributes:
        of_medians: of all rounds.
        lowest: of the rounds, each with its own two samples.
        highest: likewise.
    """

    of_medians: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, ours: Series, rival: Series) -> Ratio:
        """Of two series of the same rounds, of which the rival may have had the first only."""
        pairs = zip(ours.samples[: len(rival.samples)], rival.samples, strict=True)
        ratios = [one / other for one, other in pairs]
        return cls(ours.median / rival.median, min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.of_medians:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


@frozen
class Rival:
    """What ours is compared with.

    Attributes:
        series: its samples, interleaved with ours.
        target: of the ratio; None for what is only told.
        missing: why it was not measured; empty when it was.
    """

    series: Series
    target: Target | None = None
    missing: str = ""


@frozen
class Point:
    """Where a figure stands among others that differ in one size only.

    Attributes:
        of: what they are together.
        axis: what the size is.
        size: of this one.
    """

    of: str
    axis: str
    size: float


@frozen
class Figure:
    """One thing measured of ours, and of rivals when there are any.

    Attributes:
        scenario: whose figure it is.
        name: what is measured.
        unit: of the samples.
        ours: samples of ours.
        rivals: what ours is compared with.
        target: of our median; None for what is only told.
        point: where it stands among others like it; None: it stands alone.
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
        """Whether the target beside a rival is reached, or our own; None: there is none."""
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
        figures: of the scenarios that are over.
        seconds: that each of these took.
        failed: why a scenario gave no figures.
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
