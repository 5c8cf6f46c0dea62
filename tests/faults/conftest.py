"""Prints the tables of faults after a run and writes them to the page named by FAULT_TABLE."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from .cluster_world import CLUSTER_OUTCOMES, ClusterOutcome
from .world import OUTCOMES, Outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables; a table without a row in this run keeps its place in the page."""
    for mark, outcomes, text in (
        ("table", OUTCOMES, table(OUTCOMES)),
        ("cluster", CLUSTER_OUTCOMES, cluster_table(CLUSTER_OUTCOMES)),
    ):
        if not outcomes:
            continue
        terminalreporter.section(f"faults: {mark}")
        terminalreporter.write_line(text)
        path = os.environ.get("FAULT_TABLE")
        if path:
            page = Path(path)
            place = rf"(?<=<!-- {mark} -->\n)(?:\|.*\n)*"
            page.write_text(re.sub(place, lambda _: f"{text}\n", page.read_text()))  # noqa: B023


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    return _markdown(
        [
            "fault",
            "in flight",
            "failed, by name",
            "messages missed",
            "wrong",
            "seconds to recovery",
        ],
        [
            [each.fault, each.in_flight, _names(each.failed), each.missed, each.wrong, each.seconds]
            for each in outcomes
        ],
    )


def cluster_table(outcomes: Sequence[ClusterOutcome]) -> str:
    """Return the outcomes on a cluster as a Markdown table."""
    return _markdown(
        [
            "fault",
            "failed calls, by name",
            "missed",
            "late",
            "with a gap",
            "wrong",
            "seconds",
        ],
        [
            [
                each.fault,
                _names(each.failed),
                each.missed,
                each.late,
                f"{each.gaps} of {each.topics}",
                len(each.wrong),
                each.seconds,
            ]
            for each in outcomes
        ],
    )


def _names(failed: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(failed.items())) or "none"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_text, cells))} |" for cells in lines)


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
