"""``opentera-bus doctor``: query Redis and print the findings."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

import click
from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import gathered
from opentera_twisted.bus import DISCOVERY_TIMEOUT, Bus
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.doctor import programs, round_trip
from opentera_twisted.cli.doctor.programs import ListeningServer
from opentera_twisted.cli.doctor.rights import rights
from opentera_twisted.cli.output import print_findings
from opentera_twisted.cli.run import FAILED, run_with_bus
from opentera_twisted.errors import (
    AuthenticationFailed,
    BusError,
    BusUnavailable,
    CommandFailed,
    PermissionDenied,
)
from opentera_twisted.link import Link, location
from opentera_twisted.program.open_files import raise_limit
from opentera_twisted.program.redis_checks import server as server_checks
from opentera_twisted.program.redis_checks.finding import Finding, worst
from opentera_twisted.program.redis_checks.info import parse_info
from opentera_twisted.rpc import Listening
from opentera_twisted.sessions import SessionKeys

ROUND_TRIPS: Final = 20
"""Number of pings measured."""

# Redis reports a denied command inside a script only in the error's text, not by a code.
_LACKS_RIGHT: Final = re.compile("ACL failure|user executing the script")

_CONFIG: Final = ("client-output-buffer-limit", "min-string-size-avoid-copy-reply", "save")


@cli.command()
@click.option("--strict", is_flag=True, help="Exit with status 1 for warnings too.")
@click.pass_context
def doctor(context: click.Context, strict: bool) -> None:
    """Check Redis and the programs connected to it.

    Prints each check with its verdict, reason and remedy: a table on a terminal, JSON in a pipe.
    Status 1 if a verdict is wrong.

    The checks run with the rights of the URL's user: pass the gateway's URL. They change nothing.

    \b
    opentera-bus doctor
    opentera-bus --redis redis://gateway@redis.example.org/0 --redis-password-file FILE doctor
    opentera-bus doctor | jq '.checks[] | select(.verdict == "wrong")'
    """  # noqa: D301 (click takes the character itself)
    timeout = context.obj.timeout

    async def work(bus: Bus) -> None:
        findings = await examine(bus, timeout)
        print_findings(findings, worst(findings))
        if worst(findings) in ({"wrong", "warning"} if strict else {"wrong"}):
            raise SystemExit(FAILED)

    run_with_bus(work, context)


async def examine(bus: Bus, timeout: float) -> Sequence[Finding]:
    """Run all checks, or only that of the connection if it fails."""
    connection = await _connection(bus, timeout)
    if connection.verdict == "wrong":
        return [connection]
    findings = [connection]
    for of_node, link in _servers(bus):
        on_server = await _server(link, is_on_cluster=bus.link.address.is_cluster)
        checks = [*on_server, *await _round_trip(link)]
        findings += [evolve(finding, check=f"{finding.check}{of_node}") for finding in checks]
    findings.extend(await _rights(bus))
    findings.extend(await _login(bus))
    findings.extend(await _programs(bus))
    findings.append(server_checks.open_files(raise_limit()))
    return findings


def _servers(bus: Bus) -> Sequence[tuple[str, Link]]:
    """Return the server, or each node of a cluster with a suffix for its checks."""
    nodes = sorted(bus.link.nodes.items())
    return [(f" of {location(*address)}", node) for address, node in nodes] or [("", bus.link)]


async def _server(link: Link, *, is_on_cluster: bool) -> Sequence[Finding]:
    try:
        info = parse_info(await link.execute("INFO", "everything"))
    except CommandFailed as error:
        return [_unknown("server", error, "+info")]
    findings = list(server_checks.examine(info, await _config(link)))
    if info.get("cluster_enabled") == "1" and not is_on_cluster:
        remedy = f"use the URL {link.address.cluster_url}"
        findings.append(Finding("cluster", "wrong", "Redis is a node of a cluster", remedy))
    return findings


async def _rights(bus: Bus) -> Sequence[Finding]:
    """Check the rights at each node; name the node where they differ."""
    checked = [(of_node, await rights(link, bus.link.address)) for of_node, link in _servers(bus)]
    (_, first), *others = checked
    if all(found == first for _, found in others):
        return first
    return [
        evolve(finding, check=f"{finding.check}{of_node}")
        for of_node, found in checked
        for finding in found
    ]


async def _connection(bus: Bus, timeout: float) -> Finding:
    """Check that both connections come up; the first failed attempt ends the check."""
    link = bus.link
    refused: Deferred[None] = Deferred()

    def failed(cause: Failure) -> None:
        if not refused.called:
            refused.errback(cause)

    link.on_refused.append(failed)
    connected = bus.connected().addTimeout(timeout, link.clock)
    both = DeferredList(
        [connected, refused], fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
    )
    where = f"Redis at {link.address}"
    try:
        await both
    except Exception as error:  # noqa: BLE001 (the finding reports any failure)
        first = getattr(error, "subFailure", None)
        cause = first.value if first is not None else error
        if isinstance(cause, DeferredTimeout):
            cause = BusUnavailable(f"no answer for {timeout:g} seconds")
        reason = Failure(cause).getErrorMessage()
        return Finding("connection", "wrong", f"{where}: {reason}", _remedy(cause))
    finally:
        link.on_refused.remove(failed)
    return Finding("connection", "ok", f"{where} answers")


def _remedy(cause: BaseException) -> str:
    if isinstance(cause, AuthenticationFailed):
        return "check user and password: redis://USER@HOST and --redis-password-file FILE"
    if isinstance(cause, DNSLookupError):
        return "check the host of --redis"
    if isinstance(cause, Refused):
        return "start Redis, or pass its address with --redis"
    if isinstance(cause, CommandFailed):
        if cause.code == "CLUSTERDOWN":
            return "cover every slot: redis-cli --cluster check HOST:PORT"
        return cause.remedy or "check Redis's log"
    return "check Redis's log, and the network between this machine and Redis"


def _unknown(check: str, error: CommandFailed, rule: str) -> Finding:
    return Finding(check, "unknown", str(error), f"give the user {rule}")


async def _config(link: Link) -> Mapping[str, str]:
    """Read settings one by one, since some servers lack some."""
    found: dict[str, str] = {}
    for name in _CONFIG:
        try:
            reply = await link.execute("CONFIG", "GET", name)
        except CommandFailed:
            continue
        texts = [text.decode(errors="replace") for text in reply]
        found.update(zip(texts[::2], texts[1::2], strict=True))
    return found


async def _login(bus: Bus) -> Sequence[Finding]:
    """Redeem a session key as a login does; other checks report missing rights."""
    try:
        await SessionKeys(bus).check()
    except CommandFailed as error:
        if isinstance(error, PermissionDenied) or _LACKS_RIGHT.search(str(error)):
            return []
        return [Finding("login", "wrong", f"logins are answered 503: {error}", _remedy(error))]
    return [Finding("login", "ok", "session keys can be redeemed")]


async def _round_trip(link: Link) -> Sequence[Finding]:
    clock = link.clock
    seconds = []
    try:
        for _ in range(ROUND_TRIPS):
            began = clock.seconds()
            await link.execute("PING")
            seconds.append(clock.seconds() - began)
        findings = [round_trip.latency(seconds)]
    except CommandFailed as error:
        findings = [_unknown("latency", error, "+ping")]
    began = time.time()
    try:
        whole, micro = await link.execute("TIME")
    except CommandFailed as error:
        return [*findings, _unknown("clock", error, "+time")]
    ended = time.time()
    offset = int(whole) + int(micro) / 1e6 - (began + ended) / 2
    return [*findings, round_trip.clock(offset, (ended - began) / 2)]


async def _programs(bus: Bus) -> Sequence[Finding]:
    findings: list[Finding] = []
    try:
        clients = programs.parse_clients(await bus.link.execute("CLIENT", "LIST"))
        findings.append(programs.names(clients))
    except CommandFailed as error:
        findings.append(_unknown("names", error, "+client|list"))
    try:
        listening = await bus.services()
    except CommandFailed as error:
        return [*findings, _unknown("served", error, "+pubsub|channels +scan")]
    served = await gathered(Deferred.fromCoroutine(_served(bus, server)) for server in listening)
    return [*findings, *programs.servers(served)]


async def _served(bus: Bus, listening: Listening) -> ListeningServer:
    """Query all programs of a server whether they share its calls."""
    if listening.description is None:
        return ListeningServer(listening.server, None)
    try:
        answers = await bus.call_all(listening.server, "opentera.stats", timeout=DISCOVERY_TIMEOUT)
    except BusError:
        return ListeningServer(listening.server, None)
    stats = [answer.value for answer in answers if isinstance(answer.value, dict)]
    is_shared = all(values.get("exclusive") is True for values in stats)
    return ListeningServer(listening.server, len(answers), is_shared)
