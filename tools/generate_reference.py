"""Writes the pages of docs/reference that only the code can tell: options, commands, metrics.

python -m tools.generate_reference FOLDER
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest.mock import patch

import click
from prometheus_client.parser import text_string_to_metric_families

from opentera_twisted.admin import LocalOverview
from opentera_twisted.admin.metrics import page_of
from opentera_twisted.cli.commands import load_commands
from opentera_twisted.gateway import Gateway
from opentera_twisted.link.slots import SLOTS
from opentera_twisted.program.log import lost_by_log
from opentera_twisted.program.options import REPEATABLE, Options
from opentera_twisted.program.workers import Pool, WorkerSettings
from opentera_twisted.program.workers.overview import families
from opentera_twisted.testing import MemoryBus

_OPEN = {"command", "node", "version"}
"""Labels whose values are not listed: there may be others."""


def options() -> Iterator[str]:
    """The page of ``twistd opentera-bus``."""
    known = Options()
    yield "# Options of the gateway"
    yield ""
    yield "Look up the default and meaning of an option, as in `twistd opentera-bus --help`. An"
    yield "options file uses the same names. A limit of 0 means no limit."
    yield "[Run the gateway](../how-to/running.md) explains the options."
    yield ""
    rows = []
    for name, short, default, text in known.optParameters:
        shown = "" if default is None else f"`{default}`"
        rows.append((_flags(name, short, " VALUE"), shown, text))
    for name, short, text in known.optFlags:
        rows.append((_flags(name, short), "off", text))
    for name in REPEATABLE:
        text = inspect.getdoc(getattr(known, f"opt_{name.replace('-', '_')}")) or ""
        short = next((letter for letter in "wo" if _is_short(known, letter, name)), None)
        rows.append((_flags(name, short, " VALUE"), "", " ".join(text.split())))
    yield from _table(("option", "default", "meaning"), sorted(rows))


def _is_short(known: Options, letter: str, name: str) -> bool:
    long = getattr(known, f"opt_{name.replace('-', '_')}")
    return bool(getattr(known, f"opt_{letter}", None) == long)


def _flags(name: str, short: str | None, value: str = "") -> str:
    return f"`--{name}{value}`" + (f", `-{short}`" if short else "")


def commands() -> Iterator[str]:
    """The page of ``opentera-bus``."""
    yield "# Commands"
    yield ""
    yield "Look up the arguments and options of a command, as in `--help`."
    yield "[Use the command line](../how-to/command-line.md) explains purposes and exit statuses."
    for path, command in _walk("opentera-bus", load_commands()):
        with click.Context(
            command,
            info_name=path,
            max_content_width=88,
            terminal_width=88,
            help_option_names=["-h", "--help"],
        ) as context:
            text = command.get_help(context)
        yield from ("", f"## {path}", "", "```text", *text.rstrip().splitlines(), "```")


def _walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, one in sorted(command.commands.items()):
            yield from _walk(f"{path} {name}", one)


def metrics() -> Iterator[str]:
    """The page of ``/metrics``."""
    bus = MemoryBus()
    pool = Pool(bus.link.reactor, 2, (), WorkerSettings(redis="", name="", gateway={}), print)
    overview = LocalOverview(bus, Gateway(bus), lost_lines=lost_by_log)
    # A cluster's metrics have a label for the node.
    node = ("127.0.0.1", 6379)
    with patch.multiple(type(bus.link), nodes={node: bus.link}, slots={node: SLOTS}):
        page = page_of([*overview.families(), *families(pool)]).decode()
    yield "# Metrics"
    yield ""
    yield "Look up the metrics that `GET /metrics` of the admin endpoint returns, in Prometheus's"
    yield "text format 0.0.4. With `--workers`, the label `worker` holds the number of the worker;"
    yield "metrics of the parent lack it. `opentera_bus_workers…` exist only with `--workers`."
    yield "[Read the metrics](../how-to/metrics.md) answers common questions with them."
    yield ""
    rows = []
    for family in text_string_to_metric_families(page):
        labels: dict[str, dict[str, None]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    labels.setdefault(label, {})[value] = None
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        shown = "; ".join(
            f"`{label}`"
            + ("" if label in _OPEN else f": {', '.join(f'`{value}`' for value in values)}")
            for label, values in labels.items()
        )
        rows.append((f"`{name}`", family.type, shown, family.documentation))
    yield from _table(("metric", "type", "labels", "meaning"), sorted(rows))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row(("---",) * len(head))
    for row in rows:
        yield _row(cell.replace("|", "\\|").replace("*", "\\*") for cell in row)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


PAGES = {"options.md": options, "commands.md": commands, "metrics.md": metrics}


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    return {name: "\n".join(make()) + "\n" for name, make in PAGES.items()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text)
