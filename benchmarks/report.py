"""The results as one table, and as a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Results, Series, Target

_WIDTH_OF_A_FILE = 170


def show(results: Results) -> None:
    """Print the table to standard output."""
    table = Table(caption=", ".join(f"{name} {value}" for name, value in results.machine.items()))
    table.add_column("what")
    table.add_column("measured where")
    for column in ("minimum", "median", "maximum", "ours to it", "target"):
        table.add_column(column, justify="right")
    table.add_column("reached")
    for figure in results.figures:
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
    for name, why in results.failed.items():
        table.add_row(name, f"failed: {why}")
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(table)


def write(path: Path, results: Results) -> None:
    """Write everything to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results.as_json(), indent=2) + "\n")


def _cells(series: Series) -> list[str]:
    return [
        "\n".join((series.who, *sorted(series.remarks))),
        *map(digits, (min(series.samples), series.median, max(series.samples))),
    ]


def digits(figure: float) -> str:
    """Three digits that count, or all before the point."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def _reached(target: Target | None, reached: bool | None) -> tuple[str, str]:
    return "" if target is None else str(target), yes_or_no(reached)


def yes_or_no(reached: bool | None) -> str:
    """Return the result of a target, or nothing without one."""
    return {None: "", True: "yes", False: "no"}[reached]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for the docs; its first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "| --- " * len(rows[0]) + "|", *body])
