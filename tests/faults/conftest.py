"""Prints the table of faults after a run and writes it to the file named by FAULT_TABLE."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .world import OUTCOMES, Outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not OUTCOMES:
        return
    text = table(OUTCOMES)
    terminalreporter.section("faults")
    terminalreporter.write_line(text)
    path = os.environ.get("FAULT_TABLE")
    if path:
        page = Path(path)
        head, mark, _ = page.read_text().partition("<!-- table -->\n")
        page.write_text(f"{head}{mark}{text}\n")


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    lines = [
        "| fault | in flight | failed, by name | messages missed | wrong | seconds to recovery |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for outcome in outcomes:
        failed = ", ".join(f"{count} {name}" for name, count in sorted(outcome.failed.items()))
        lines.append(
            f"| {outcome.fault} | {outcome.in_flight} | {failed or 'none'} "
            f"| {outcome.missed} | {outcome.wrong} | {outcome.seconds:.2f} |"
        )
    return "\n".join(lines)
