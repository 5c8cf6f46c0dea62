"""Several gateways measured alike, in rounds, each round in another order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import Final

from attrs import Factory, define, frozen

from benchmarks.figures import Figure, Point, Rival, Series, Target
from benchmarks.gateways import Start, null, null_behind_redis, ours, ours_in_a_site
from benchmarks.rivals.environments import NotMeasuredError
from benchmarks.rivals.gateways import RIVALS
from benchmarks.scenario import Setting, rotated

OURS: Mapping[str, Start] = {"ours": ours, "ours in a site": ours_in_a_site}
CEILING = "ceiling"
FLOOR = "floor"

SLOW: Final = 5.0
"""Seconds of a round. A slow rival takes longer, and is left out of the following rounds."""

SLOWER: Final = 2.0
"""Multiple of the time of ours. A slow rival takes longer than this too."""


@frozen
class Measured:
    """Results of one gateway in one round.

    Attributes:
        who: Name and version of the gateway.
        values: Values by quantity.
        remark: Remark, or an empty string.
    """

    who: str
    values: Mapping[str, float]
    remark: str = ""


@define
class Comparison:
    """Ours, and the gateways that are to be measured beside it.

    Attributes:
        starts: each gateway, by name; ours is the first.
        own: names of our gateways, which are measured in every round.
        missing: Reasons why gateways were not measured, by name.
    """

    starts: Mapping[str, Start]
    own: Collection[str] = frozenset(OURS)
    missing: dict[str, str] = Factory(dict)
    _series: dict[tuple[str, str], Series] = Factory(dict)

    @classmethod
    def of(
        cls, setting: Setting, *, site: bool = False, ceiling: bool = False, floor: bool = False
    ) -> Comparison:
        """Ours beside the rivals that the setting names.

        Args:
            setting: names them.
            site: also ours as a resource of a site.
            ceiling: also the null gateway.
            floor: also the null gateway behind Redis.
        """
        starts = dict(OURS) if site else {"ours": ours}
        if ceiling:
            starts[CEILING] = null
        if floor:
            starts[FLOOR] = null_behind_redis
        return cls(
            starts | {name: start for name, start in RIVALS.items() if name in setting.against}
        )

    def run(self, setting: Setting, title: str, measure: Callable[[str, Start], Measured]) -> None:
        """Measure each gateway in each round; skip a rival that is missing or fails.

        A rival that is slow is measured in one round only.
        """
        slow: set[str] = set()
        ours = 0.0
        for number in setting.each_round(title):
            for name in rotated(list(self.starts), number):
                if name in self.missing or name in slow:
                    continue
                print(f"  {name}", end="", flush=True, file=sys.stderr)
                began = perf_counter()
                try:
                    measured = measure(name, self.starts[name])
                except NotMeasuredError as error:
                    self.missing[name] = str(error)
                except RuntimeError as error:
                    if name in self.own:
                        raise
                    self.missing[name] = f"it failed: {error}"
                else:
                    self._add(name, measured)
                seconds = perf_counter() - began
                print(f" {seconds:.1f} s", file=sys.stderr)
                if name == "ours":
                    ours = seconds
                elif seconds > max(SLOW, SLOWER * ours) and name not in self.own:
                    slow.add(name)

    def series(self, what: str, name: str) -> Series:
        """Return the measurements of one gateway."""
        return self._series.setdefault((what, name), Series(name))

    def figure(
        self,
        scenario: str,
        what: str,
        unit: str,
        *,
        beside: Target | None = None,
        above_floor: Target | None = None,
        target: Target | None = None,
        point: Point | None = None,
    ) -> Figure:
        """Ours beside all the others, but for those that do not have the quantity.

        Args:
            scenario: its name.
            what: measured quantity.
            unit: unit of the values.
            beside: target of the ratio to each rival.
            above_floor: target of the ratio to the null gateway behind Redis.
            target: target of our median.
            point: position in a series of sizes.
        """
        targets = {**dict.fromkeys((*OURS, CEILING)), FLOOR: above_floor}
        rivals = [
            Rival(
                self.series(what, name),
                targets.get(name, beside),
                self.missing.get(name, ""),
            )
            for name in self.starts
            if name != "ours" and (name in self.missing or self.series(what, name).samples)
        ]
        return Figure(scenario, what, unit, self.series(what, "ours"), rivals, target, point)

    def _add(self, name: str, measured: Measured) -> None:
        for what, value in measured.values.items():
            series = self.series(what, name)
            series.who = measured.who
            series.samples.append(value)
            if measured.remark:
                series.remarks.add(measured.remark)
