"""The reaction to each error of a cluster's node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted import CommandFailed
from opentera_twisted.link.cluster_errors import Redirection, redirection
from opentera_twisted.link.slots import SLOTS

SLOT = st.integers(0, SLOTS - 1)
PORT = st.integers(1, 65_535)


def error(reply: str) -> CommandFailed:
    return CommandFailed("GET", reply)


@given(SLOT, st.sampled_from(["127.0.0.1", "::1", "redis-1.example"]), PORT)
def test_moved_and_ask_name_slot_and_node(slot: int, host: str, port: int) -> None:
    where = f"{slot} {host}:{port}"
    assert redirection(error(f"MOVED {where}"), "x") == Redirection("moved", slot, (host, port))
    assert redirection(error(f"ASK {where}"), "x") == Redirection("ask", slot, (host, port))
    same_host = redirection(error(f"MOVED {slot} :{port}"), "x")
    assert same_host == Redirection("moved", slot, ("x", port))


@pytest.mark.parametrize(
    "reply",
    ["TRYAGAIN Multiple keys", "CLUSTERDOWN no", "MOVED", "MOVED 1 h:0", "ASK 16384 h:1"],
)
def test_a_command_without_a_known_place_is_sent_again_later(reply: str) -> None:
    assert redirection(error(reply), "x") == Redirection("later")


@pytest.mark.parametrize("reply", ["ERR no", "WRONGTYPE no", "CROSSSLOT no", "NOPERM no"])
def test_other_errors_are_not_sent_again(reply: str) -> None:
    assert redirection(error(reply), "x") is None
