"""Hash slots: the same as Redis computes, for any name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.blocking_connection import BlockingConnection
from opentera_twisted.link.slots import SLOTS, command_slot, key_slot, topic_beside
from tests.helpers.cluster import shared_cluster

pytestmark = pytest.mark.xdist_group("cluster")

_NAMES = st.binary(max_size=20) | st.lists(
    st.sampled_from([b"{", b"}", b"a", b"b", b"\x00"]), max_size=8
).map(b"".join)


def test_a_slot_is_that_of_cluster_keyslot() -> None:
    address = RedisAddress(hosts=(("127.0.0.1", shared_cluster().nodes[0].port),))
    with BlockingConnection(address) as connection:

        @given(_NAMES)
        def compare(name: bytes) -> None:
            assert key_slot(name) == connection.execute("CLUSTER", "KEYSLOT", name)

        compare()


@given(_NAMES.filter(bool))
def test_a_topic_beside_a_key_has_its_slot(name: bytes) -> None:
    assert key_slot(topic_beside(name)) == key_slot(name)
    assert topic_beside(b"a") == b"opentera.slot.{a}"


def test_examples_of_the_specification() -> None:
    assert key_slot(b"123456789") == 0x31C3 % SLOTS
    assert key_slot(b"{user1000}.following") == key_slot(b"{user1000}.followers")
    assert key_slot(b"foo{}{bar}") != key_slot(b"bar")
    assert key_slot(b"foo{{bar}}zap") == key_slot(b"{bar")
    assert key_slot(b"foo{bar}{zap}") == key_slot(b"bar")


def test_a_command_belongs_to_the_slot_of_its_first_key() -> None:
    slot = key_slot(b"a")
    assert command_slot(("GET", b"a")) == slot
    assert command_slot(("SET", "a", "b")) == slot
    assert command_slot(("SPUBLISH", b"a", b"payload")) == slot
    assert command_slot(("EVALSHA", "0" * 40, 1, b"a", b"b")) == slot
    assert command_slot(("GET", 17)) == key_slot(b"17")
    assert command_slot(("OBJECT", "ENCODING", "a")) == slot
    assert command_slot(("ZUNION", 2, "a", "a")) == slot
    assert command_slot(("XREAD", "COUNT", 1, "streams", "a", "0")) == slot


def test_a_command_without_keys_has_no_slot() -> None:
    for command in (("PING",), ("INFO", "server"), ("EVAL", "return 1", 0, "a"), ("EVAL", "")):
        assert command_slot(command) is None
