"""Who serves which topic, and which programs have one name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.cli.program import BUS_NAME
from opentera_twisted.program.redis_checks.finding import Finding

USER_MANAGER: Final = f"module.{topics.USER_MANAGER_MODULE}"


@frozen
class ListeningServer:
    """A server's topic.

    Attributes:
        server: ``service.<key>`` or ``module.<name>``.
        answers: how many of its programs answered; None when it cannot be asked.
        is_shared: whether each of them says that it takes only its own calls.
    """

    server: str
    answers: int | None
    is_shared: bool = False


def servers(served: Sequence[ListeningServer]) -> Iterator[Finding]:
    """One finding for each topic that is served, and one when a needed one is not."""
    for one in served:
        yield _server(one)
    if not any(one.server == USER_MANAGER for one in served):
        yield Finding(
            f"served: {USER_MANAGER}",
            "warning",
            "nobody answers for it: OpenTera's programs ask it at each login who is online",
            "start the OpenTera server, or a program that serves the module",
        )


def _server(one: ListeningServer) -> Finding:
    check = f"served: {one.server}"
    if one.answers is None:
        return Finding(check, "ok", "by a program that cannot say more, such as a deployed one")
    if one.answers <= 1:
        return Finding(check, "ok", "by one program")
    if one.is_shared:
        return Finding(check, "ok", f"by {one.answers} programs, one of which takes each call")
    return Finding(
        check,
        "warning",
        f"by {one.answers} programs, each of which executes every call",
        "stop all but one, or have them share the calls: exclusive=True",
    )


def names(clients: Sequence[Mapping[str, str]]) -> Finding:
    """Whether programs can be told apart in Redis's list of clients."""
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
    """The clients that Redis lists, each by the names of its fields.

    Source: Redis command CLIENT LIST.
    """
    lines = reply.decode(errors="replace").splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]
