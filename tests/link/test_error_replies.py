"""Redis's errors have names, from real servers that are full, loading, replicas or strict."""

from __future__ import annotations

import pytest

from opentera_twisted import (
    Delivery,
    NoResponder,
    OutOfMemory,
    PermissionDenied,
    PrimaryDown,
    ReadOnlyReplica,
    ServerLoading,
    WrongType,
)
from opentera_twisted.link.error_replies import refusal
from tests.helpers.support import Collector, RedisTestCase


class RefusalTests(RedisTestCase):
    async def test_wrong_type(self) -> None:
        bus = await self.bus()
        self.redis.rpush("l", "1")
        with pytest.raises(WrongType) as caught:
            await bus.variables.get("l")
        assert (caught.value.command, caught.value.code) == ("GET", "WRONGTYPE")

    async def test_a_replica(self) -> None:
        bus = await self.bus()
        self.redis.replicaof("127.0.0.1", 1)
        self.addCleanup(self.redis.replicaof, "NO", "ONE")
        with pytest.raises(ReadOnlyReplica, match="sentinel"):
            await bus.variables.set("a", "1")
        self.redis.config_set("replica-serve-stale-data", "no")
        self.addCleanup(self.redis.config_set, "replica-serve-stale-data", "yes")
        with pytest.raises(PrimaryDown):
            await bus.variables.get("a")

    async def test_a_full_server(self) -> None:
        bus = await self.bus()
        self.redis.config_set("maxmemory", "1")
        self.addCleanup(self.redis.config_set, "maxmemory", "0")
        with pytest.raises(OutOfMemory, match="maxmemory"):
            await bus.variables.set("a", "1")
        assert await bus.variables.get("a") is None

    async def restricted(self, *rules: str) -> str:
        self.redis.execute_command("ACL", "SETUSER", "someone", "reset", "on", ">pw", *rules)
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "someone")
        return f"redis://someone:pw@127.0.0.1:{self.server.port}"

    async def test_missing_rights_are_named_and_other_topics_go_on(self) -> None:
        url = await self.restricted("+@all", "-get", "~allowed", "&allowed", "&RedisRPCClient.*")
        bus = await self.bus(url)
        got = Collector()
        await bus.subscribe("allowed", got)
        for call, needs in (
            (lambda: bus.variables.get("allowed"), "+get"),
            (lambda: bus.variables.delete("forbidden"), "~forbidden"),
            (lambda: bus.publish("forbidden", b""), "&forbidden"),
            (lambda: bus.subscribe("forbidden", print), "&forbidden"),
            (lambda: bus.subscribe_pattern("f*", print), "&f*"),
        ):
            with pytest.raises(PermissionDenied) as caught:
                await call()
            assert caught.value.needs == needs
            assert needs in str(caught.value)
        await bus.publish("allowed", b"1")
        assert await got.wait(1) == [Delivery("allowed", None, b"1")]
        assert bus.link.is_ready

    async def test_a_topic_refused_for_a_while_comes_back_with_the_right(self) -> None:
        bus = await self.bus(await self.restricted("+@all", "~*", "&*"))
        got, resumed = Collector(), Collector()
        await bus.subscribe("t", got, on_gap=resumed)
        await self.restricted("+@all", "~*", "&module.*")
        await resumed.wait(1)
        needs = ""
        while not needs:  # until no reply can arrive
            try:
                await bus.call("Nobody", "x")
            except NoResponder:
                continue
            except PermissionDenied as error:
                needs = error.needs
        assert needs.startswith("&RedisRPCClient.")
        await self.restricted("+@all", "~*", "&*")
        with pytest.raises(NoResponder):
            await bus.call("Nobody", "x")
        self.redis.execute_command("CLIENT", "KILL", "USER", "someone")
        await resumed.wait(2)
        self.redis.publish("t", b"1")
        await got.wait(1)

    async def test_a_revoked_right_ends_only_its_subscription(self) -> None:
        url = await self.restricted("+@all", "~*", "&*")
        bus = await self.bus(url)
        kept, resumed = Collector(), Collector()
        await bus.subscribe("kept", kept, on_gap=resumed)
        await bus.subscribe("taken", print)
        await self.restricted("+@all", "~*", "&kept", "&RedisRPCClient.*")
        await resumed.wait(1)
        self.redis.publish("kept", b"1")
        await kept.wait(1)
        assert {name.text for name in bus.link.subscriptions.wanted} >= {b"kept"}
        assert b"taken" not in {name.text for name in bus.link.subscriptions.acknowledged}


def test_an_error_repeats_no_arguments() -> None:
    reply = "ERR unknown command 'EVALSHA', with args beginning with: 'sha' '1' 'user.secret' "
    error = refusal(["EVALSHA", "sha", 1, "user.secret"], reply)
    assert str(error) == "Redis refused EVALSHA: ERR unknown command 'EVALSHA'"
    assert error.reply == "ERR unknown command 'EVALSHA'"


def test_loading_has_a_name() -> None:
    error = refusal(["GET", b"a"], "LOADING Redis is loading the dataset in memory")
    assert isinstance(error, ServerLoading)


@pytest.mark.parametrize(
    ("arguments", "reply", "needs"),
    [
        (["SET", b"user.secret", b"x"], "NOPERM No permissions to access a key", ""),
        (["EVALSHA", "sha", 1, b"secret"], "NOPERM No permissions to access a key", ""),
        (["DEL", b"a", b"b"], "NOPERM No permissions to access a key", ""),
        (["DEL", b"a"], "NOPERM No permissions to access a key", "~a"),
        (["PUBLISH", b"t", b"secret"], "NOPERM No permissions to access a channel", "&t"),
        (["SPUBLISH", b"t", b"secret"], "NOPERM No permissions to access a channel", "&t"),
        (["SSUBSCRIBE", b"t"], "NOPERM No permissions to access a channel", "&t"),
        (["SET", b"a"], "NOPERM User x has no permissions to run the 'set' command", "+set"),
        (["CLIENT", "LIST"], "NOPERM User x … run the 'client|list' command", "+client|list"),
        (["SET", b"a"], "NOPERM something else", ""),
    ],
)
def test_the_missing_right_is_named_unless_it_may_be_secret(
    arguments: list[bytes | str | int], reply: str, needs: str
) -> None:
    error = refusal(arguments, reply)
    assert isinstance(error, PermissionDenied)
    assert error.needs == needs
    assert "secret" not in str(error)
