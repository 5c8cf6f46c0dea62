"""Writes the table of the rules to the file named by CONFORMANCE_TABLE."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .table import RESULTS, table

MARK = "<!-- table -->\n"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the table and print its summary."""
    path = os.environ.get("CONFORMANCE_TABLE")
    if not path or not RESULTS:
        return
    text = table()
    page = Path(path)
    head, mark, _ = page.read_text().partition(MARK)
    page.write_text(f"{head}{mark}{text}\n")
    terminalreporter.section("conformance")
    terminalreporter.write_line(text.partition("\n")[0])
