"""Session keys: each works once; other keys of Redis stay untouched."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import gatherResults

from opentera_twisted import Identity, InvalidArgument, ReadOnlyReplica, SessionKeys
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import KINDS
from opentera_twisted.variables import Secret
from tests.helpers.support import UUID, RedisTestCase

EXISTING = "0123456789abcdef" * 8


class SessionKeyTests(RedisTestCase):
    async def keys(self, **options: Any) -> SessionKeys:
        return SessionKeys(await self.bus(), **options)

    async def test_a_key_names_its_kind_and_expires(self) -> None:
        keys = await self.keys()
        key = await keys.issue("user", UUID)
        assert re.fullmatch(r"user\.[A-Za-z0-9_-]{43}", key)
        assert self.redis.get(key) == UUID.encode()
        assert 59_000 < self.redis.pttl(key) <= 60_000
        assert await keys.issue("user", UUID) != key

    async def test_a_key_is_valid_once_and_for_its_kind(self) -> None:
        keys = await self.keys()
        key = await keys.issue("participant", UUID, ttl=5)
        assert await keys.redeem("user", key) is None
        assert await keys.redeem("participant", key) == Identity("participant", UUID)
        assert await keys.redeem("participant", key) is None
        assert self.redis.dbsize() == 0

    async def test_a_key_carries_name_and_topics(self) -> None:
        keys = await self.keys()
        key = await keys.issue("device", UUID, name="Zoé", topics=["service.A.events"])
        stored = json.loads(self.redis.get(key) or b"")
        assert stored == {"uuid": UUID, "name": "Zoé", "topics": ["service.A.events"]}
        expected = Identity("device", UUID, "Zoé", ("service.A.events",))
        assert await keys.redeem("device", key) == expected

    async def test_a_returned_key_keeps_its_remaining_time(self) -> None:
        keys = await self.keys()
        said: list[dict[str, Any]] = [{}, {"name": "Zoé", "topics": ["service.A.events"]}]
        for options in said:
            key = await keys.issue("user", UUID, ttl=50.0, **options)
            redeemed = await keys.take("user", key)
            assert redeemed is not None
            assert key not in repr(redeemed)
            assert await keys.redeem("user", key) is None
            assert await keys.give_back(redeemed)
            assert 0 < self.redis.pttl(key) <= 50_000
            assert not await keys.give_back(redeemed)
            assert await keys.redeem("user", key) == redeemed.identity

    async def test_an_expired_or_replaced_key_is_not_returned(self) -> None:
        keys = await self.keys()
        key = await keys.issue("user", UUID)
        redeemed = await keys.take("user", key)
        assert redeemed is not None
        taken, left, value = redeemed.stored
        assert not await keys.give_back(evolve(redeemed, stored=(taken - left, left, value)))
        assert not self.redis.exists(key)
        # A clock set back does not extend a lifetime.
        ahead = evolve(redeemed, stored=(taken + 3_600_000, left, value))
        assert await keys.give_back(ahead)
        assert 0 < self.redis.pttl(key) <= left
        self.redis.set(key, "newer", ex=10)
        assert not await keys.give_back(redeemed)
        assert self.redis.get(key) == b"newer"

    async def test_keys_of_existing_servers_fit_every_kind_once(self) -> None:
        keys = await self.keys()
        for kind in KINDS:
            self.redis.set(EXISTING, UUID, ex=60)
            assert await keys.redeem(kind, EXISTING) == Identity(kind, UUID)
            assert await keys.redeem(kind, EXISTING) is None

    async def test_keys_of_existing_servers_can_be_refused(self) -> None:
        keys = await self.keys(require_bound=True)
        self.redis.set(EXISTING, UUID, ex=60)
        assert await keys.redeem("user", EXISTING) is None
        assert self.redis.get(EXISTING) == UUID.encode()

    async def test_one_of_many_simultaneous_attempts_wins(self) -> None:
        keys = [await self.keys() for _ in range(3)]
        key = await keys[0].issue("user", UUID)
        attempts = [server.redeem("user", key) for _ in range(50) for server in keys]
        results = await gatherResults(attempts)
        assert [result for result in results if result] == [Identity("user", UUID)]

    async def test_other_keys_of_redis_stay_untouched(self) -> None:
        keys = await self.keys()
        bound = "user." + "k" * 43
        kinds = {
            "never expires": lambda key: self.redis.set(key, UUID),
            "no UUID": lambda key: self.redis.set(key, "secret", ex=60),
            "UUID and more": lambda key: self.redis.set(key, UUID + "x", ex=60),
            "UUID with a line break": lambda key: self.redis.set(key, UUID + "\n", ex=60),
            "JSON without a UUID": lambda key: self.redis.set(key, '{"a": 1}', ex=60),
            "JSON with another UUID": lambda key: self.redis.set(key, '{"uuid": "x"}', ex=60),
            "JSON, cut": lambda key: self.redis.set(key, '{"uuid": "' + UUID, ex=60),
            "JSON, deep": lambda key: self.redis.set(key, "{" + '"a":[' * 2000, ex=60),
            "JSON array": lambda key: self.redis.set(key, "[1]", ex=60),
            "large": lambda key: self.redis.set(key, "{" + "x" * 100_000, ex=60),
            "list": lambda key: (self.redis.rpush(key, UUID), self.redis.expire(key, 60)),
            "hash": lambda key: (self.redis.hset(key, "a", UUID), self.redis.expire(key, 60)),
        }
        for what, make in kinds.items():
            for key in (bound, EXISTING):
                make(key)
                before = self.redis.dump(key)
                assert await keys.redeem("user", key) is None, what
                assert self.redis.dump(key) == before, what
                self.redis.delete(key)

    async def test_json_that_only_redis_reads_still_gives_an_identity(self) -> None:
        keys = await self.keys()
        key = "user." + "k" * 43
        for rest in (
            '"name": 0x10',
            '"name": NaN',
            '"name": null, "topics": {"1": "a"}',
            '"topics": -Infinity',
            '"n": ' + "1" * 5000,
            '"n": ' + "[" * 990 + "]" * 990,
            '"topics": [null, 1, "", {}]',
        ):
            self.redis.set(key, f'{{"uuid": "{UUID}", {rest}}}', ex=60)
            assert await keys.redeem("user", key) == Identity("user", UUID), rest
            assert await keys.redeem("user", key) is None
        expected = Identity("user", UUID, "two\nlines \ufffd", ("a", "b"))
        value = f'{{"uuid": "{UUID}", "name": "two\nlines \udcff", "topics": ["a", 1, "b"]}}'
        self.redis.set(key, value.encode(errors="surrogateescape"), ex=60)
        assert await keys.redeem("user", key) == expected

    async def test_other_names_are_refused_without_a_command(self) -> None:
        keys = await self.keys()
        names = [
            *Secret, "service.A", "", "x" * 5000, "a\r\nDEL b", "a\x00b", "\ud800",
            EXISTING.upper(), EXISTING[1:], "user." + "k" * 44, "user." + "é" * 43,
            "admin." + "k" * 43, "user." + "k" * 43 + "\n",
        ]  # fmt: skip
        for name in names[:8]:
            if name and name != "\ud800":
                self.redis.set(name, UUID)
        calls = self.redis.info("commandstats")
        for name in names:
            assert await keys.redeem("user", name) is None
        after = self.redis.info("commandstats")
        for command in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_get", "cmdstat_del"):
            assert after.get(command) == calls.get(command)

    async def test_a_replica_raises_unavailable_not_bad_key(self) -> None:
        keys = await self.keys()
        key = await keys.issue("user", UUID)
        self.redis.set(f"user.{'n' * 43}", UUID)  # it never expires
        self.redis.rpush(f"user.{'l' * 43}", UUID)
        self.redis.set(f"user.{'j' * 43}", "junk", ex=60)
        self.redis.replicaof("127.0.0.1", 1)
        try:
            # Its data may be old: the primary may have a key where the replica has none.
            for name in (key, *(f"user.{letter * 43}" for letter in "anlj")):
                with pytest.raises(ReadOnlyReplica):
                    await keys.redeem("user", name)
            with pytest.raises(ReadOnlyReplica):
                await keys.check()
        finally:
            self.redis.replicaof("NO", "ONE")
        await keys.check()
        assert await keys.redeem("user", key) == Identity("user", UUID)

    async def test_mistakes_are_raised_before_anything_is_sent(self) -> None:
        keys = await self.keys()
        wrong: list[tuple[Any, ...]] = [
            ("admin", UUID),
            ("user", "x"),
            ("user", None),
            ("user", UUID, 0),
            ("user", UUID, -1),
            ("user", UUID, 60, 5),
            ("user", UUID, 60, None, "topic"),
            ("user", UUID, 60, None, [1]),
            ("user", UUID, 60, "x" * 20_000),
        ]
        for arguments in wrong:
            with pytest.raises(InvalidArgument):
                keys.issue(*arguments)
        assert self.redis.dbsize() == 0


@given(st.uuids())
def test_uuids_are_recognised_by_their_form(uuid: object) -> None:
    assert is_uuid(str(uuid))
    assert is_uuid(str(uuid).upper())
    assert not is_uuid(uuid)
    assert not is_uuid(f"{uuid}\n")
    assert not is_uuid(str(uuid).replace("-", ""))
