"""txredisapi's commands over a bus: results, scripts, and which commands exist."""

from __future__ import annotations

import ast
import inspect

import pytest
import txredisapi
from twisted.internet.defer import gatherResults

from opentera_twisted import CommandFailed, InvalidArgument
from opentera_twisted._internal import redis_signatures
from opentera_twisted.redis_commands import REFUSED, command_names
from opentera_twisted.testing import MemoryBus, result_of
from tests.helpers.support import RedisTestCase


class RedisCommandsTests(RedisTestCase):
    async def test_results_are_those_of_txredisapi(self) -> None:
        redis = (await self.bus(self.server.url)).redis
        assert await redis.hset("h", "f", 1.5) == 1
        assert await redis.hgetall("h") == {b"f": b"1.5"}
        assert await redis.sadd("s", [b"a", "b"]) == 2
        assert await redis.smembers("s") == {b"a", b"b"}
        assert await redis.zadd("z", 1.5, "m") == 1
        assert await redis.zscore("z", "m") == 1.5
        assert await redis.zscore("z", "nothing") is None
        assert await redis.zrange("z", withscores=True) == [(b"m", 1.5)]
        assert (await redis.scan(count=1000))[0] == b"0"
        assert await redis.set("a", b"\xff", expire=100) == b"OK"
        assert await redis.get("a") == b"\xff"

    async def test_a_script_runs_again_after_redis_has_forgotten_it(self) -> None:
        redis = (await self.bus(self.server.url)).redis
        script = "return {KEYS[1], ARGV[1]}"
        assert await redis.eval(script, ["k"], ["Zoé"]) == [b"k", "Zoé".encode()]
        self.redis.script_flush()
        assert await redis.eval(script, ["k"], [1]) == [b"k", b"1"]

    async def test_commands_in_flight_share_the_connection_of_the_bus(self) -> None:
        bus = await self.bus(self.server.url, name="one")
        results = await gatherResults([bus.redis.incr("n") for _ in range(100)])
        assert results == list(range(1, 101))
        names = sorted(connection["name"] for connection in self.redis.client_list())
        assert [name for name in names if name.startswith("one.")] == [
            "one.client",
            "one.subscriber",
        ]

    async def test_errors_of_txredisapi_have_our_name(self) -> None:
        redis = (await self.bus(self.server.url)).redis
        with pytest.raises(InvalidArgument, match="bitop: no ``srckeys`` specified"):
            await redis.bitop("AND", "target")
        for send in (
            lambda: redis.set("text", "\ud800"),
            lambda: redis.hmset("text", {"\udfff": 1}),
            lambda: redis.execute_command("GET\ud800"),
            lambda: redis.eval("\ud800"),
            lambda: redis.eval(b"\xff"),
            lambda: redis.eval("return 1", ["\ud800"]),
        ):
            with pytest.raises(InvalidArgument, match="UTF-8"):
                await send()
        with pytest.raises(CommandFailed, match="NOSCRIPT"):
            await redis.evalsha("0" * 40)


def test_each_command_is_offered_or_refused_with_a_reason() -> None:
    blocking = {
        name
        for name, method in vars(txredisapi.BaseRedisProtocol).items()
        if getattr(method, "_blocking", False)
    }
    assert blocking <= {*REFUSED}
    subscribing = {name for name in vars(txredisapi.SubscriberProtocol) if name.endswith("scribe")}
    assert subscribing <= {*REFUSED}
    assert {"hset", "zadd", "lrange", "eval", "publish"} <= command_names()
    assert not command_names() & {*REFUSED}
    assert {"hset", "eval", "execute_command"} <= {*dir(MemoryBus().redis)}


def declared() -> list[ast.FunctionDef]:
    """Return the typed commands."""
    tree = ast.parse(inspect.getsource(redis_signatures.Signatures))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("command", declared(), ids=lambda command: command.name)
def test_a_typed_command_has_the_arguments_of_txredisapi(command: ast.FunctionDef) -> None:
    kinds = inspect.signature(getattr(txredisapi.BaseRedisProtocol, command.name)).parameters
    names = [argument.arg for argument in command.args.args]
    assert names == [name for name, kind in kinds.items() if kind.kind != kind.VAR_POSITIONAL]
    defaults = [ast.literal_eval(default) for default in command.args.defaults]
    assert defaults == [
        kind.default for kind in kinds.values() if kind.default is not inspect.Parameter.empty
    ]
    assert command.name in command_names()


def test_a_memory_bus_names_a_command_that_it_lacks() -> None:
    with pytest.raises(CommandFailed, match="MemoryRedis has no command PFADD"):
        result_of(MemoryBus().redis.pfadd("p", ["a"]))


def test_a_memory_bus_keeps_the_former_names_of_its_redis() -> None:
    bus = MemoryBus()
    assert bus.redis.online is bus.server.online
    assert bus.redis.published is bus.server.published
    assert MemoryBus(bus.redis, reactor=bus.clock).server is bus.server
