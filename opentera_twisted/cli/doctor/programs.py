"""Servers of each topic, and programs that share a name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.cli.run import BUS_NAME
from opentera_twisted.program.redis_checks.finding import Finding

USER_MANAGER: Final = f"module.{topics.USER_MANAGER_MODULE}"


@frozen
class ListeningServer:
    """A server that listens for calls.

    Attributes:
        server: ``service.<key>`` or ``module.<name>``.
        answers: number of its programs that answered; None if it does not describe itself.
        is_shared: True if each program handles only its share of the calls.
    """

    server: str
    answers: int | None
    is_shared: bool = False


def servers(served: Sequence[ListeningServer]) -> Iterator[Finding]:
    """Judge each server, and report a missing user manager."""
    for listening in served:
        yield _server(listening)
    if not any(listening.server == USER_MANAGER for listening in served):
        yield Finding(
            f"served: {USER_MANAGER}",
            "warning",
            "no program serves it; OpenTera's programs query it for online users at each login",
            "start the OpenTera server, or a program that serves the module",
        )


def _server(listening: ListeningServer) -> Finding:
    check = f"served: {listening.server}"
    count = listening.answers
    if count is None:
        reason = "by a program that does not describe itself, such as an existing OpenTera program"
        return Finding(check, "ok", reason)
    if count <= 1:
        return Finding(check, "ok", "by one program")
    if listening.is_shared:
        return Finding(check, "ok", f"by {count} programs, which share the calls")
    return Finding(
        check,
        "warning",
        f"by {count} programs, each of which executes every call",
        "stop all but one, or let them share the calls: exclusive=True",
    )


def names(clients: Sequence[Mapping[str, str]]) -> Finding:
    """Check that programs have distinct names in Redis's list of clients."""
    addresses: dict[str, list[str]] = defaultdict(list)
    for client in clients:
        name, _, role = client.get("name", "").rpartition(".")
        if role == "subscriber" and name != BUS_NAME:
            addresses[name].append(client.get("addr", "?"))
    shared = {name: found for name, found in addresses.items() if len(found) > 1}
    if not shared:
        known = ", ".join(sorted(addresses)) or "none is connected"
        return Finding("names", "ok", f"programs with a bus: {known}")
    listed = "; ".join(
        f"{len(found)} programs are named {name} (at {', '.join(sorted(found))})"
        for name, found in sorted(shared.items())
    )
    remedy = "give each its own: twistd opentera-bus --name NAME, Bus(name=NAME)"
    return Finding("names", "warning", listed, remedy)


def parse_clients(reply: bytes) -> Sequence[Mapping[str, str]]:
    """Parse Redis's list of clients into their fields.

    Source: Redis command CLIENT LIST.
    """
    lines = reply.decode(errors="replace").splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]
