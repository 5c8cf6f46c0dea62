"""Redis URLs: what they say, and what is wrong with others."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from opentera_twisted import Bus, InvalidArgument
from opentera_twisted.link import RedisAddress


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress(host="localhost")),
        ("redis://h:7/3", RedisAddress(host="h", port=7, database=3)),
        ("redis://h?db=4", RedisAddress(host="h", database=4)),
        ("redis://:p%40ss@h", RedisAddress(host="h", password="p@ss")),
        ("redis://us%3Aer:pw@h", RedisAddress(host="h", username="us:er", password="pw")),
        ("redis://[::1]:7", RedisAddress(host="::1", port=7)),
        ("redis://", RedisAddress(host="127.0.0.1")),
        ("unix:///run/re%20dis.sock?db=2", RedisAddress(path="/run/re dis.sock", database=2)),
        ("unix://:pw@/s", RedisAddress(path="/s", password="pw")),
    ],
)
def test_urls_say_where_and_as_whom(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://:hush@h", "expected redis://"),
        ("localhost:6379", "expected redis://"),
        ("redis://:hush@h:port", "port"),
        ("redis://:hush@h:99999", "port"),
        ("redis://:hush@h/zero", "number"),
        ("redis://:hush@h?dbb=1", "dbb"),
        ("unix://:hush@run/redis.sock", "absolute path"),
        ("unix:///", "absolute path"),
        ("", "expected redis://"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Bus(url, reactor=MemoryReactorClock())
    assert problem in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:hush@h:7/3", "redis://h:7/3"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        ("unix://me:hush@/s?db=1", "unix:///s?db=1"),
    ],
)
def test_what_is_shown_has_no_password(url: str, shown: str) -> None:
    address = RedisAddress.parse(url)
    assert str(address) == shown
    assert "hush" not in repr(address)


def test_the_scheme_decides_on_the_endpoint() -> None:
    reactor = MemoryReactorClock()
    tcp = RedisAddress.parse("redis://h").endpoint(reactor, 1)
    assert isinstance(tcp, HostnameEndpoint)
    unix = RedisAddress.parse("unix:///s").endpoint(reactor, 1)
    assert isinstance(unix, UNIXClientEndpoint)
