"""Output of results: tables on a terminal, JSON in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opentera_twisted._internal.printable import printable
from opentera_twisted.cli.values import is_terminal, print_json
from opentera_twisted.program.redis_checks.finding import Finding, Verdict
from opentera_twisted.rpc import Description, Listening
from opentera_twisted.rpc.description import ArgumentDescription, to_json
from opentera_twisted.rpc.statistics import percentiles
from opentera_twisted.topics import Kind


def print_description(description: Description) -> None:
    """Print a server's procedures."""
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
    """Print servers and their procedures."""
    if not is_terminal():
        print_json(
            [
                {
                    "server": server.server,
                    "description": server.description and to_json(server.description),
                    "problem": server.problem,
                }
                for server in services
            ]
        )
        return
    table = _table(None, "server", "version", "procedures", "")
    for server in services:
        description = server.description
        if server.problem:
            _add(table, server.server, "", "", server.problem)
        elif description is None:
            _add(table, server.server, "", "", "does not describe itself")
        else:
            names = ", ".join(procedure.name for procedure in description.procedures)
            _add(table, server.server, description.version, names, description.doc)
    Console().print(table)


def print_online(
    known: Mapping[Kind, Mapping[str, Sequence[str]]], kind: Kind | None, *, sources: bool
) -> None:
    """Print the identities online, of one kind or of all, with their sources."""
    if not is_terminal():
        online = {key: dict(uuids) if sources else list(uuids) for key, uuids in known.items()}
        print_json(online if kind is None else online[kind])
        return
    count = sum(map(len, known.values()))
    table = _table(f"{count} online", "kind", "UUID", "known by")
    for key, uuids in known.items():
        for uuid, names in uuids.items():
            _add(table, key, uuid, ", ".join(names))
    Console().print(table)


def print_latency(durations: Sequence[float], failed: int) -> None:
    """Print the percentiles of the successful calls, at least one, and the number that failed."""
    seconds = percentiles(durations)
    if not is_terminal():
        print_json({"calls": len(durations), "failed": failed, "seconds": seconds})
        return
    title = f"{len(durations)} calls, in microseconds"
    table = _table(f"{title}; {failed} more failed" if failed else title, *seconds)
    table.add_row(*(f"{value * 1e6:,.0f}" for value in seconds.values()))
    Console().print(table)


def print_options(options: Sequence[tuple[str, Any, str]]) -> None:
    """Print options with their values and sources."""
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


_STYLES = {"ok": "green", "unknown": "blue", "warning": "yellow", "wrong": "bold red"}


def print_findings(findings: Sequence[Finding], verdict: Verdict) -> None:
    """Print the findings and the overall verdict."""
    if not is_terminal():
        print_json({"verdict": verdict, "checks": [asdict(finding) for finding in findings]})
        return
    table = _table(None, "verdict", "check", "finding and remedy")
    for finding in findings:
        found = _text(finding.reason)
        if finding.remedy:
            found.append(f"\n→ {printable(finding.remedy)}", "bold")
        verdict_cell = Text(finding.verdict, _STYLES[finding.verdict])
        table.add_row(verdict_cell, _text(finding.check), found)
    Console().print(table)


def _table(title: str | None, *columns: str) -> Table:
    table = Table(*columns, title=None if title is None else _text(title))
    table.title_justify = table.caption_justify = "left"
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(_text, cells))


def _text(foreign: str) -> Text:
    """Show text from another program literally, without interpreting markup."""
    return Text(printable(foreign))


def _argument(argument: ArgumentDescription) -> str:
    if argument.is_required or argument.is_rest:
        return f"{argument.name}: {argument.type}"
    return f"{argument.name}: {argument.type} = {argument.default!r}"


def print_gateways(gateways: Sequence[Mapping[str, Any]]) -> None:
    """Print gateways, each with its place, version, link and clients."""
    if not is_terminal():
        print_json(gateways)
        return
    columns = ("gateway", "host", "process", "version", "running", "link", "gaps")
    table = _table(f"{len(gateways)} gateways", *columns, "clients", "queued")
    for gateway in gateways:
        started = gateway.get("started")
        _add(
            table,
            str(gateway.get("name", gateway["gateway"])),
            str(gateway.get("host", "")),
            str(gateway.get("process", "")),
            str(gateway.get("version", "")),
            "" if started is None else _duration(time.time() - started),
            str(gateway.get("link", "")),
            str(gateway.get("gaps", "")),
            str(sum(gateway.get("clients", {}).values())),
            f"{gateway.get('queued', 0):,} bytes",
        )
    Console().print(table)


def print_clients(found: Mapping[str, Any]) -> None:
    """Print websockets, the latest first."""
    if not is_terminal():
        print_json(found)
        return
    title = f"{found['matching']:,} of {found['total']:,} websockets"
    if len(found["clients"]) < found["matching"]:
        title += f"; the latest {len(found['clients']):,}"
    table = _table(title, "kind", "UUID", "name", "address", "for", "queued", "recovery")
    for client in found["clients"]:
        _add(
            table,
            str(client["kind"]),
            str(client["uuid"]),
            str(client["name"]),
            str(client["address"]),
            _duration(time.time() - client["since"]),
            f"{client['queued']:,} bytes",
            "yes" if client["recovery"] else "no",
        )
    Console().print(table)


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
