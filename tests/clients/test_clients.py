"""Rules that hold for each client.

``make test-clients`` includes node's clients.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from .pure import PURE
from .scripted import SCRIPTED
from .visit import Client
from .world import World

pytestmark = pytest.mark.xdist_group("browser")  # one world, and one Chromium, for all

CLIENTS = [*PURE, *SCRIPTED]
RECOVERY = "opentera-bus.recovery.v1"
UNKNOWN = "opentera-bus.unknown"

each_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start the gateways."""
    made = World(tmp_path_factory.mktemp("clients"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _logs(world: World) -> Iterator[None]:
    """Show with a failed test what the gateways logged meanwhile."""
    before = world.logs()
    yield
    for log, earlier in zip(world.logs(), before, strict=True):
        sys.stdout.write(log.removeprefix(earlier))


@pytest.mark.parametrize("way", ["plain", "IPv6", "ssl:", "--certificate --workers"])
@each_client
def test_client_logs_in_gets_an_event_and_closes(world: World, client: Client, way: str) -> None:
    seen = world.visit(client, way).gets_event()
    [message] = seen.messages
    assert json.loads(message)["message"]["events"][0]["userFullname"] == "Zoé"
    assert seen.code == 1000
    assert seen.ponged is not False


@each_client
def test_client_answers_pings(world: World, client: Client) -> None:
    visiting = world.visit(client)
    world.wait_for_pong(visiting.uuid)
    visiting.gets_event()


@each_client
def test_client_learns_why_it_was_closed(world: World, client: Client) -> None:
    seen = world.visit(client, want=0).is_sent_away()
    assert (seen.code, seen.reason) == (4000, "CMD_CLIENT_DISCONNECT")


@each_client
def test_client_with_a_bad_key_is_refused(world: World, client: Client) -> None:
    assert not world.visit_with("x" * 40, "", client, "plain").seen().opened


@pytest.mark.parametrize(
    ("client", "offer"),
    [(client, offer) for client in CLIENTS for offer in client.offers],
    ids=str,
)
def test_offer_of_compression_is_accepted_or_declined(
    world: World, client: Client, offer: str
) -> None:
    name = "Zoé " * 3000
    seen = world.visit(client, offer=offer).gets_event(name)
    assert seen.compressed == client.offers[offer]
    assert json.loads(seen.messages[0])["message"]["events"][0]["userFullname"] == name
    declined = world.visit(client, "--certificate --workers", offer=offer).gets_event()
    assert not declined.compressed


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(["chat", "x"], "chat"), ([RECOVERY, "events"], RECOVERY), ([UNKNOWN, "events"], "events")],
)
@each_client
def test_subprotocol_is_selected(
    world: World, client: Client, offered: list[str], selected: str
) -> None:
    seen = world.visit(client, protocols=offered).gets_event()
    assert seen.protocol == selected


@each_client
def test_unknown_reserved_subprotocol_is_refused_keeping_the_key(
    world: World, client: Client
) -> None:
    uuid = str(uuid4())
    key = world.key(uuid)
    assert not world.visit_with(key, uuid, client, "plain", protocols=[UNKNOWN]).seen().opened
    assert world.visit_with(key, uuid, client, "plain").gets_event().opened
