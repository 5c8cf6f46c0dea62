"""The results as one table, and as a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Series

_WIDTH_OF_A_FILE = 150


def show(figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Print the table to standard output."""
    table = Table(caption=", ".join(f"{name} {value}" for name, value in facts.items()))
    table.add_column("what")
    table.add_column("measured where")
    for column in ("minimum", "median", "maximum", "ratio", "target"):
        table.add_column(column, justify="right")
    table.add_column("reached")
    for figure in figures:
        what = f"{figure.scenario}\n{figure.name}, {figure.unit}"
        if figure.missing:
            table.add_row(what, f"not measured: {figure.missing}")
            table.add_section()
            continue
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        target = "" if figure.target is None else str(figure.target)
        reached = {None: "", True: "yes", False: "no"}[figure.is_reached]
        table.add_row(what, *_cells(figure.ours), ratio, target, reached)
        if figure.rival is not None:
            table.add_row("", *_cells(figure.rival))
        table.add_section()
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(table)


def write(path: Path, figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Write everything to a file."""
    results = {"machine": dict(facts), "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(results, indent=2) + "\n")


def _cells(series: Series) -> list[str]:
    figures = (min(series.samples), series.median, max(series.samples))
    return [
        series.who,
        *(f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" for figure in figures),
    ]
