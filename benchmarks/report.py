"""The results as one table, and as a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Series, Target

_WIDTH_OF_A_FILE = 170


def show(figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Print the table to standard output."""
    table = Table(caption=", ".join(f"{name} {value}" for name, value in facts.items()))
    table.add_column("what")
    table.add_column("measured where")
    for column in ("minimum", "median", "maximum", "ours to it", "target"):
        table.add_column(column, justify="right")
    table.add_column("reached")
    for figure in figures:
        what = f"{figure.scenario}\n{figure.name}, {figure.unit}"
        reached = _reached(figure.target, figure.is_reached())
        table.add_row(what, *_cells(figure.ours), "", *reached)
        for rival in figure.rivals:
            ratio = figure.ratio(rival)
            if ratio is None:
                table.add_row("", f"{rival.series.who}\nnot measured: {rival.missing}")
                continue
            reached = _reached(rival.target, figure.is_reached(rival))
            table.add_row("", *_cells(rival.series), str(ratio), *reached)
        table.add_section()
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(table)


def write(path: Path, figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Write everything to a file."""
    results = {"machine": dict(facts), "figures": [figure.as_json() for figure in figures]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


def _cells(series: Series) -> list[str]:
    return [
        "\n".join((series.who, *sorted(series.remarks))),
        *map(_digits, (min(series.samples), series.median, max(series.samples))),
    ]


def _digits(figure: float) -> str:
    """Three digits that count, or all before the point."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def _reached(target: Target | None, reached: bool | None) -> tuple[str, str]:
    return "" if target is None else str(target), {None: "", True: "yes", False: "no"}[reached]
