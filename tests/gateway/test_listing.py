"""The list of a gateway's clients: the latest ones, found in batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from opentera_twisted import Identity
from opentera_twisted.gateway.intake import SHARE, Intake
from opentera_twisted.gateway.listing import BATCH, MOST, Listing
from opentera_twisted.gateway.trusted_proxies import Peer
from opentera_twisted.testing import result_of
from tests.helpers.turns import Turns


class Client:
    """A client whose inspection takes time on a clock."""

    session = None
    backlog = 0

    def __init__(self, number: int, clock: Clock) -> None:
        self.was_opened = bool(number)  # one is in its handshake
        self.opened_at = float(number)
        self.address = Peer("192.0.2.1", secure=False)
        self.inspected = 0
        self._clock = clock
        self.known: Identity | None = Identity("device", f"uuid-{number}")

    @property
    def identity(self) -> Identity | None:
        self._clock.rightNow += SHARE / 10
        self.inspected = 1
        return self.known


def listing(clock: Clock, clients: list[Client]) -> Any:
    factory = SimpleNamespace(connections=set(clients), intake=Intake(clock))
    counts = {"device": len(clients) - 1}
    gateway: Any = SimpleNamespace(factory=factory, clients=counts, lease="lease")
    link: Any = SimpleNamespace(clock=clock)
    return Listing(gateway, link, "name")


def found(clock: Turns, clients: list[Client], *arguments: Any) -> dict[str, Any]:
    """Return the answer, and check that no turn inspects more than a batch."""
    listed = Deferred.fromCoroutine(listing(clock, clients).clients(*arguments))
    answers: list[Any] = []
    listed.addCallback(answers.append)
    inspected = 0
    while True:
        before, inspected = inspected, sum(client.inspected for client in clients)
        assert inspected - before <= BATCH
        if answers:
            (answer,) = answers
            return dict(answer)
        clock.turn()


def test_the_search_leaves_the_reactor_after_each_batch() -> None:
    clock = Turns()
    clients = [Client(number, clock) for number in range(5 * BATCH)]
    answer = found(clock, clients)
    count = len(clients) - 1
    assert (answer["gateway"], answer["total"], answer["matching"]) == ("lease", count, count)
    uuids = [row["uuid"] for row in answer["clients"]]
    assert uuids == [f"uuid-{number}" for number in range(count, count - MOST, -1)]


def test_a_search_counts_all_matches_and_returns_the_latest() -> None:
    clock = Turns()
    clients = [Client(number, clock) for number in range(2 * BATCH)]
    answer = found(clock, clients, "UUID-12", 3)
    assert answer["matching"] == 11
    assert [row["uuid"] for row in answer["clients"]] == ["uuid-129", "uuid-128", "uuid-127"]


def test_a_client_that_leaves_during_the_search_is_omitted() -> None:
    clock = Turns()
    clients = [Client(number, clock) for number in range(2 * BATCH)]
    listed = Deferred.fromCoroutine(listing(clock, clients).clients())
    for client in clients:
        if client.inspected:
            client.known = None
    present = {client.known.uuid for client in clients[1:] if client.known is not None}
    clock.turn()
    rows = result_of(listed)["clients"]
    assert rows
    assert {row["uuid"] for row in rows} <= present
