"""Writes the figures of one run into the page of the docs: ``python -m benchmarks.document``.

Replaces the text between the marks of each part; the rest is written by hand. The
pictures that the page shows are copied from beside the results.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import capacity
from benchmarks.children import ROOT
from benchmarks.report import digits, markdown, yes_or_no

PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
RESULTS: Final = ROOT / "build" / "bench" / "results.json"

IMAGES: Final = ROOT / "docs" / "images"
PICTURES: Final = (
    "fan-out-one-topic-burst-deliveries",
    "fan-out-personal-topics-burst-deliveries",
    "idle-websockets-memory-each-of-1-000",
    "call-throughput-calls-per-second",
)
"""Those of a run's pictures that the page shows."""

GATEWAYS: Final = ("event-latency", "fan-out", "idle-websockets", "start-up")
"""Scenarios whose figures form a table by gateway; others are listed."""

Json = Mapping[str, Any]


def main() -> None:
    """Write what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="of a run: JSON")
    parser.add_argument("page", nargs="?", type=Path, default=PAGE, help="with the marks")
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    page = options.page.read_text()
    page = written(page, "figures", figures(results))
    page = written(page, "capacity", capacity.text(results["figures"]))
    options.page.write_text(page)
    for name in PICTURES:
        shutil.copyfile(options.results.with_name(f"{name}.svg"), IMAGES / f"{name}.svg")


def written(page: str, part: str, text: str) -> str:
    """The page with a text between the marks of a part.

    Raises:
        ValueError: the page has not exactly one such part.
    """
    marked = re.compile(rf"(<!-- {part}: [^>]*-->\n).*?(<!-- end of {part} -->)", re.DOTALL)
    page, count = marked.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} parts between marks of {part}, and not one")
    return page


def figures(results: Json) -> str:
    """All figures of a run, as tables."""
    by_scenario: dict[str, list[Json]] = {}
    for figure in results["figures"]:
        by_scenario.setdefault(figure["scenario"], []).append(figure)
    parts = [_machine(results["machine"])]
    for scenario, together in by_scenario.items():
        rounds = min(len(figure["ours"]["samples"]) for figure in together)
        parts.append(f"### `{scenario}`\n\nMedian of {rounds} round{'s' if rounds > 1 else ''}.")
        if scenario in GATEWAYS:
            parts += _by_gateway(together)
        else:
            parts.append(_one_by_one(together))
    parts += [f"`{name}` gave no figures: {why}." for name, why in results["failed"].items()]
    return "\n\n".join(parts)


def _machine(facts: Json) -> str:
    return (
        f"On {facts['cores']} cores ({facts['processor']}), Python {facts['python']}, "
        f"Twisted {facts['twisted']}, {facts['server']}; all of one run."
    )


def _one_by_one(figures: Iterable[Json]) -> str:
    rows = [("what", "ours", "beside it", "ratio (lowest to highest)", "aim", "reached")]
    for figure in figures:
        unit, ours = figure["unit"], figure["ours"]
        value = f"{digits(ours['median'])} {unit}"
        own = (figure["target"] or "", yes_or_no(figure["reached"]))
        first, *more = figure["rivals"] or [None]
        aim = _aim(first) if first is not None and any(_aim(first)) else own
        rows.append((figure["name"], value, *_beside(first, unit), *aim))
        rows += [("", "", *_beside(rival, unit), *_aim(rival)) for rival in more]
    return markdown(rows)


def _beside(rival: Json | None, unit: str) -> tuple[str, str]:
    if rival is None:
        return "", ""
    if "ratio" not in rival:
        return f"{rival['who']}: not measured, {_line(rival['not measured'])}", ""
    ratio = rival["ratio"]
    spread = f"{digits(ratio['lowest'])} to {digits(ratio['highest'])}"
    value = f"{digits(rival['median'])} {unit}: {rival['who']}"
    return value, f"{digits(ratio['of medians'])} ({spread})"


def _aim(rival: Json) -> tuple[str, str]:
    return rival.get("target") or "", yes_or_no(rival.get("reached"))


def _by_gateway(figures: Sequence[Json]) -> Iterator[str]:
    """A table for each thing that was measured: a row for each gateway, a column for each load."""
    tables: dict[tuple[str, str], list[Json]] = {}
    for figure in figures:
        load, _, what = figure["name"].rpartition(": ")
        tables.setdefault((what if load else "", figure["unit"]), []).append(figure)
    for (what, unit), together in tables.items():
        yield f"**{what or together[0]['name']}, {unit}**"
        yield _matrix(what, together)
        aims = [*_own_aims(together), *_aims_beside(together)]
        if aims:
            yield "\n".join(f"* {aim}" for aim in aims)
    missing = {
        f"{rival['who']}: {_line(rival['not measured'])}"
        for figure in figures
        for rival in figure["rivals"]
        if "not measured" in rival
    }
    if missing:
        yield f"Not measured: {'; '.join(sorted(missing))}."


def _matrix(what: str, figures: Sequence[Json]) -> str:
    cells: dict[str, dict[str, str]] = {}
    loads = [figure["name"].removesuffix(f": {what}") for figure in figures]
    for load, figure in zip(loads, figures, strict=True):
        cells.setdefault(_short(figure["ours"]), {})[load] = f"**{_median(figure['ours'])}**"
        for rival in figure["rivals"]:
            if "ratio" in rival:
                ratio = digits(rival["ratio"]["of medians"])
                cells.setdefault(_short(rival), {})[load] = f"{_median(rival)} ({ratio})"
    columns = list(dict.fromkeys(loads))
    rows = [(who, *(of.get(load, "") for load in columns)) for who, of in cells.items()]
    return markdown([("gateway (ours to it)", *columns), *rows])


def _own_aims(figures: Iterable[Json]) -> Iterator[str]:
    for figure in figures:
        if figure["target"]:
            result = "reached" if figure["reached"] else "not reached"
            who = _short(figure["ours"])
            yield f"{figure['name']}, {who}: {figure['target']} {figure['unit']}, {result}"


def _aims_beside(figures: Iterable[Json]) -> Iterator[str]:
    """Return the rivals beside which each target is missed."""
    missed: dict[str, list[str]] = {}
    for figure in figures:
        for rival in figure["rivals"]:
            if rival.get("target"):
                names = missed.setdefault(rival["target"], [])
                if not rival["reached"]:
                    names.append(f"{_short(rival)} ({figure['name']})")
    for target, names in missed.items():
        result = f"not beside {', '.join(names)}" if names else "reached beside all"
        yield f"ratio {target}: {result}"


def _short(series: Json) -> str:
    """Return the name without the details."""
    who: str = series["who"]
    return who.partition(",")[0]


def _median(series: Json) -> str:
    return digits(series["median"])


def _line(text: str) -> str:
    """A reason, which may be a program's output, in one line."""
    return " ".join(text.replace("|", "/").split())


if __name__ == "__main__":
    main()
