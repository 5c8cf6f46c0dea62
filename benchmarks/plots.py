"""The results as pictures: lines over a size, bars of gateways beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from attrs import frozen

from benchmarks.figures import Figure, Series

_OURS: Final = "#c2410c"
_OTHERS: Final = ("#1d4ed8", "#15803d", "#7c3aed", "#a16207", "#0e7490", "#be185d", "#4b5563")
_FAR_APART: Final = 50
"""Times the least bar that the longest may be, on a linear axis."""

_LABEL: Final = 34
"""Characters in one line of a label."""

STYLE: Final = {
    "svg.hashsalt": "opentera-twisted",  # the same picture of the same results
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
}
"""Settings of matplotlib for every picture."""


@frozen
class Picture:
    """One file: figures that differ in one size only, or a single one."""

    name: str
    figures: Sequence[Figure]


def pictures(figures: Sequence[Figure]) -> Iterator[Picture]:
    """Return the pictures: figures with rivals, and series of sizes."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(_key(figure), []).append(figure)
    for key, together in groups.items():
        # Only sizes share a picture.
        shown = together if together[0].point is not None else together[:1]
        if len(shown) > 1 or any(_measured(figure) for figure in shown):
            yield Picture(re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-"), shown)


def _key(figure: Figure) -> str:
    what = figure.name if figure.point is None else figure.point.of
    return f"{figure.scenario} {what}"


def _measured(figure: Figure) -> list[Series]:
    return [rival.series for rival in figure.rivals if not rival.missing]


def draw(folder: Path, figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Write an SVG file for each picture.

    Raises:
        ImportError: matplotlib is not installed; it is in the extra ``bench``.
    """
    import matplotlib as mpl  # noqa: PLC0415 (only who wants pictures needs it)
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    machine = f"{facts['cores']} cores, {facts['processor']}, Python {facts['python']}"
    with mpl.rc_context(STYLE):
        for picture in pictures(figures):
            canvas = Canvas(figsize=(7.2, 3.6), layout="constrained")
            axes = canvas.subplots()
            (_lines if len(picture.figures) > 1 else _bars)(axes, picture.figures)
            canvas.supxlabel(machine, fontsize=7, color="#6b7280")
            canvas.savefig(folder / f"{picture.name}.svg", metadata={"Date": None})


def _lines(axes: Any, figures: Sequence[Figure]) -> None:
    """Medians over the size, from minimum to maximum; logarithmic both ways."""
    drawn: dict[str, list[tuple[float, Series]]] = {}
    for figure in figures:
        assert figure.point is not None
        for series in (figure.ours, *_measured(figure)):
            drawn.setdefault(_short(series), []).append((figure.point.size, series))
    for number, (who, points) in enumerate(drawn.items()):
        axes.errorbar(
            [size for size, _ in points],
            [series.median for _, series in points],
            yerr=_spread([series for _, series in points]),
            label=who,
            color=color(number),
            linewidth=2 if number == 0 else 1.2,
            marker="o",
            markersize=4,
            capsize=2,
        )
    point = figures[0].point
    assert point is not None
    axes.set(xscale="log", yscale="log", ylabel=figures[0].unit, xlabel=point.axis)
    sizes = sorted({figure.point.size for figure in figures if figure.point is not None})
    axes.set_xticks(sizes, [f"{size:,g}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_title(f"{figures[0].scenario}: {point.of}")
    axes.grid(visible=True, which="major", color="#e5e7eb")
    if len(drawn) > 1:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _bars(axes: Any, figures: Sequence[Figure]) -> None:
    """Medians as bars, from minimum to maximum."""
    (figure,) = figures
    series = [figure.ours, *_measured(figure)]
    places = range(len(series))
    medians = [measured.median for measured in series]
    axes.set_xlabel(figure.unit)
    axes.set_yticks(places, [fill(measured.who, _LABEL) for measured in series], fontsize=7)
    axes.barh(
        places,
        medians,
        xerr=_spread(series),
        color=[color(number) for number in places],
        error_kw={"capsize": 2, "linewidth": 1},
    )
    if min(medians) > 0 and max(medians) / min(medians) > _FAR_APART:
        # One that is far off would leave no room for the others.
        axes.set(xscale="log", xlabel=f"{figure.unit} (logarithmic)")
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.invert_yaxis()
    axes.set_title(f"{figure.scenario}: {figure.name}")
    axes.grid(visible=True, axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)


def _spread(series: Sequence[Series]) -> list[list[float]]:
    """Return the distances of minimum and maximum from the median."""
    return [
        [measured.median - min(measured.samples) for measured in series],
        [max(measured.samples) - measured.median for measured in series],
    ]


def _short(series: Series) -> str:
    """Return the name without the details."""
    return re.split(r"[,:]", series.who, maxsplit=1)[0]


def color(number: int) -> str:
    """Return the colour of a line or bar; number 0 is ours."""
    return _OURS if number == 0 else _OTHERS[(number - 1) % len(_OTHERS)]
