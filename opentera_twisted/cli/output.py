"""How results look: tables on a terminal, JSON in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opentera_twisted._internal.printable import printable
from opentera_twisted.program.redis_checks.finding import Finding, Verdict
from opentera_twisted.rpc import Description, Listening
from opentera_twisted.rpc.description import ArgumentDescription, to_json
from opentera_twisted.rpc.statistics import percentiles
from opentera_twisted.topics import Kind

LONGEST = 2000
"""Characters of one message on a terminal."""


def is_terminal() -> bool:
    """Whether a person reads the results."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print a value as JSON on one line; a terminal gets unescaped the characters it can show.

    Raises:
        ValueError: a number in it is not finite, which JSON has no word for.
    """
    print(printable(json.dumps(value, ensure_ascii=not is_terminal(), allow_nan=False)))  # noqa: T201


def print_bytes(value: bytes) -> None:
    """Print a value as it is in a pipe; on a terminal, its text."""
    if is_terminal():
        print(printable(text_or_hex(value)), flush=True)  # noqa: T201
    else:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()


def text_or_hex(value: bytes) -> str:
    """Return a value's text, or ``hex:DEADBEEF`` when it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"hex:{value.hex()}"


def print_description(description: Description) -> None:
    """A service's procedures."""
    if not is_terminal():
        print_json(to_json(description))
        return
    title = " ".join(filter(None, (description.service, description.version)))
    table = _table(title, "procedure", "arguments", "returns", "")
    for procedure in description.procedures:
        arguments = ", ".join(map(_argument, procedure.arguments))
        _add(table, procedure.name, arguments, procedure.returns, procedure.doc)
    table.caption = _text(description.doc)
    Console().print(table)


def print_services(services: Sequence[Listening]) -> None:
    """What listens now."""
    if not is_terminal():
        print_json(
            [
                {
                    "server": one.server,
                    "description": None if one.description is None else to_json(one.description),
                    "problem": one.problem,
                }
                for one in services
            ]
        )
        return
    table = _table(None, "server", "version", "procedures", "")
    for one in services:
        if one.problem:
            _add(table, one.server, "", "", one.problem)
        elif one.description is None:
            _add(table, one.server, "", "", "does not describe itself")
        else:
            names = ", ".join(procedure.name for procedure in one.description.procedures)
            _add(table, one.server, one.description.version, names, one.description.doc)
    Console().print(table)


def print_online(
    known: Mapping[Kind, Mapping[str, Sequence[str]]], kind: Kind | None, *, sources: bool
) -> None:
    """Read who has a websocket open, of one kind or of all, and which sources know it."""
    if not is_terminal():
        online = {one: dict(uuids) if sources else list(uuids) for one, uuids in known.items()}
        print_json(online if kind is None else online[kind])
        return
    count = sum(map(len, known.values()))
    table = _table(f"{count} online", "kind", "UUID", "known by")
    for one, uuids in known.items():
        for uuid, names in uuids.items():
            _add(table, one, uuid, ", ".join(names))
    Console().print(table)


def print_latency(durations: Sequence[float], failed: int) -> None:
    """How long the calls took that succeeded, at least one, and how many did not."""
    seconds = percentiles(durations)
    if not is_terminal():
        print_json({"calls": len(durations), "failed": failed, "seconds": seconds})
        return
    title = f"{len(durations)} calls, in microseconds"
    table = _table(f"{title}; {failed} more failed" if failed else title, *seconds)
    table.add_row(*(f"{value * 1e6:,.0f}" for value in seconds.values()))
    Console().print(table)


def print_options(options: Sequence[tuple[str, Any, str]]) -> None:
    """Options, each with its value and where it is from."""
    if not is_terminal():
        print_json({name: {"value": value, "from": source} for name, value, source in options})
        return
    table = _table(None, "option", "value", "from")
    for name, value, source in options:
        lines = value if isinstance(value, list) else ["" if value is None else str(value)]
        _add(table, name, "\n".join(lines), source)
    Console().print(table)


def styled(text: Text) -> str:
    """Return a text with the colours that the terminal can show, on lines as long as they are."""
    console = Console()
    with console.capture() as captured:
        console.print(text, soft_wrap=True)
    return captured.get().rstrip("\n")


def short_json(value: object) -> str:
    """Return JSON for a terminal, cut after `LONGEST` characters."""
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


_STYLES = {"ok": "green", "unknown": "blue", "warning": "yellow", "wrong": "bold red"}


def print_findings(findings: Sequence[Finding], verdict: Verdict) -> None:
    """What was found, and the verdict of all together."""
    if not is_terminal():
        print_json({"verdict": verdict, "checks": [asdict(one) for one in findings]})
        return
    table = _table(None, "verdict", "check", "what was found, and what helps")
    for one in findings:
        found = _text(one.reason)
        if one.remedy:
            found.append(f"\n→ {printable(one.remedy)}", "bold")
        table.add_row(Text(one.verdict, _STYLES[one.verdict]), _text(one.check), found)
    Console().print(table)


def _table(title: str | None, *columns: str) -> Table:
    table = Table(*columns, title=None if title is None else _text(title))
    table.title_justify = table.caption_justify = "left"
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(_text, cells))


def _text(foreign: str) -> Text:
    """What a program far away says, as it is: no markup either."""
    return Text(printable(foreign))


def _argument(argument: ArgumentDescription) -> str:
    if argument.is_required or argument.is_rest:
        return f"{argument.name}: {argument.type}"
    return f"{argument.name}: {argument.type} = {argument.default!r}"
