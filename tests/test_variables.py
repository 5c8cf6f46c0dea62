"""Shared variables, against a real server and beside another program."""

from __future__ import annotations

import pytest

from opentera_twisted import BusError, CommandFailed, InvalidArgument
from opentera_twisted.variables import LogList, Secret, service_information, user_login_attempts
from tests.helpers.support import UUID, RedisTestCase


class VariableTests(RedisTestCase):
    async def test_a_value_set_by_one_program_is_read_by_another(self) -> None:
        variables = (await self.bus()).variables
        assert await variables.set("a", b"\x00\xff123")
        assert self.redis.get("a") == b"\x00\xff123"
        self.redis.set("b", "12.50")
        assert await variables.get("b") == b"12.50"
        assert await variables.set("c", "Zoé")
        assert await variables.get("c") == "Zoé".encode()
        assert await variables.set("empty", b"")
        assert await variables.get("empty") == b""
        assert await variables.get("nothing") is None

    async def test_a_ttl_is_kept_in_redis_and_ended_by_a_set_without_one(self) -> None:
        variables = (await self.bus()).variables
        await variables.set("a", "x", ttl=100.5)
        assert 99_000 < self.redis.pttl("a") <= 100_500
        await variables.set("a", "y")
        assert self.redis.pttl("a") == -1

    async def test_only_if_absent_keeps_an_existing_value(self) -> None:
        variables = (await self.bus()).variables
        assert await variables.set("a", "1", only_if_absent=True) is True
        assert await variables.set("a", "2", only_if_absent=True) is False
        assert await variables.get("a") == b"1"

    async def test_delete_returns_the_number_deleted(self) -> None:
        variables = (await self.bus()).variables
        self.redis.mset({"a": 1, "b": 2})
        assert await variables.delete("a", "b", "c") == 2
        assert self.redis.dbsize() == 0

    async def test_compare_and_set_replaces_only_the_expected_value(self) -> None:
        variables = (await self.bus()).variables
        assert await variables.compare_and_set("a", None, "1", ttl=50)
        assert 0 < self.redis.pttl("a") <= 50_000
        assert not await variables.compare_and_set("a", None, "2")
        assert not await variables.compare_and_set("a", "0", "2")
        assert not await variables.compare_and_set("b", "", "2")
        assert await variables.compare_and_set("a", b"1", b"2")
        assert self.redis.get("a") == b"2"
        assert self.redis.pttl("a") == -1
        await variables.set("e", "")
        assert await variables.compare_and_set("e", "", "3")

    async def test_a_name_that_holds_a_list_is_a_named_error(self) -> None:
        variables = (await self.bus()).variables
        self.redis.rpush("l", 1)
        with pytest.raises(CommandFailed) as caught:
            await variables.get("l")
        assert caught.value.code == "WRONGTYPE"

    async def test_the_database_of_the_url_is_used(self) -> None:
        bus = await self.bus(f"redis://127.0.0.1:{self.server.port}/3")
        await bus.variables.set("a", "1")
        with self.server.client(db=3) as other:
            assert other.get("a") == b"1"
        assert self.redis.get("a") is None

    async def test_mistakes_are_raised_before_anything_is_sent(self) -> None:
        variables = (await self.bus()).variables
        for wrong in (
            lambda: variables.get(""),
            lambda: variables.get(b"a"),  # type: ignore[arg-type]
            lambda: variables.set("a", 1),  # type: ignore[arg-type]
            lambda: variables.set("a", "1", ttl=0),
            lambda: variables.set("a", "1", ttl=-1),
            lambda: variables.set("a", "1", ttl=float("nan")),
            lambda: variables.set("a", "1", ttl=True),
            lambda: variables.set("\ud800", "1"),
            variables.delete,
        ):
            with pytest.raises(InvalidArgument) as caught:
                wrong()
            assert isinstance(caught.value, (BusError, TypeError, ValueError))
        assert self.redis.dbsize() == 0


def test_names_equal_those_of_existing_programs() -> None:
    assert set(Secret) == {
        "UserTokenAPIKey",
        "DeviceTokenAPIKey",
        "DeviceStaticTokenAPIKey",
        "ParticipantTokenAPIKey",
        "ParticipantStaticTokenAPIKey",
        "ServiceTokenAPIKey",
    }
    assert f"{LogList.WARNING}" == "log.warning"
    assert service_information("FileTransferService") == "service.FileTransferService"
    assert user_login_attempts(UUID) == f"UserLoginAttempts.{UUID}"
