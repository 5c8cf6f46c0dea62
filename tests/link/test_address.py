"""Redis URLs: parsed values, and errors of invalid ones."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.testing import MemoryReactorClock

from opentera_twisted import Bus, InvalidArgument
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.credentials import TLS, Credentials
from opentera_twisted.link.sentinel import SentinelEndpoint
from opentera_twisted.program.options import parse_redis

LOCAL = ("127.0.0.1", 6379)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress((("localhost", 6379),))),
        ("redis://h:7/3", RedisAddress((("h", 7),), database=3)),
        ("redis://h?db=4", RedisAddress((("h", 6379),), database=4)),
        ("redis://:p%40ss@h", RedisAddress((("h", 6379),), login=Credentials(None, "p@ss"))),
        ("redis://us%3Aer:pw@h", RedisAddress((("h", 6379),), login=Credentials("us:er", "pw"))),
        ("redis://:a@b@h", RedisAddress((("h", 6379),), login=Credentials(None, "a@b"))),
        ("redis://[::1]:7", RedisAddress((("::1", 7),))),
        ("redis://[fe80::1%25eth0]:7", RedisAddress((("fe80::1%eth0", 7),))),
        ("redis://[fe80::1%Eth0]", RedisAddress((("fe80::1%Eth0", 6379),))),
        ("redis://[fe80::1%25]", RedisAddress((("fe80::1%25", 6379),))),
        ("redis://", RedisAddress((LOCAL,))),
        ("rediss://h", RedisAddress((("h", 6379),), tls=TLS())),
        (
            "rediss://h?ca=/a&certificate=/b&private_key=/c",
            RedisAddress((("h", 6379),), tls=TLS("/a", "/b", "/c")),
        ),
        ("unix:///run/re%20dis.sock?db=2", RedisAddress(path="/run/re dis.sock", database=2)),
        ("unix://:pw@/s", RedisAddress(path="/s", login=Credentials(None, "pw"))),
        (
            "redis+sentinel://:pw@a:1,b,[::1]:3/mymaster/2?sentinel_password=s+p%20",
            RedisAddress(
                (("a", 1), ("b", 26379), ("::1", 3)),
                primary="mymaster",
                database=2,
                login=Credentials(None, "pw"),
                sentinel_login=Credentials(None, "s+p "),
            ),
        ),
        (
            "rediss+sentinel://a/m",
            RedisAddress((("a", 26379),), primary="m", tls=TLS()),
        ),
        (
            "redis+cluster://us:pw@a,b:2/?pubsub=sharded",
            RedisAddress((("a", 6379), ("b", 2)), login=Credentials("us", "pw"), is_cluster=True),
        ),
        (
            "redis+cluster://a?pubsub=classic",
            RedisAddress((("a", 6379),), is_cluster=True, is_classic=True),
        ),
        ("redis+cluster://a/0", RedisAddress((("a", 6379),), is_cluster=True)),
        (
            "rediss+cluster://a?ca=/a",
            RedisAddress((("a", 6379),), tls=TLS("/a"), is_cluster=True),
        ),
    ],
)
def test_urls_hold_the_address_and_credentials(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://:hush@h", "expected redis://"),
        ("redsi://:hush?hush@h", "expected redis://"),
        ("redsi:/:hush?hush@h", "expected redis://"),
        ("redsi://h?sentinel_password=hush@hush", "expected redis://"),
        ("localhost:6379", "expected redis://"),
        ("redis://:hush@h:port", "port"),
        ("redis://:hush@h:99999", "port"),
        ("redis://:hush@h/zero", "number"),
        ("redis://:hush@h?dbb=1", "dbb"),
        ("redis://:hush@h?ca=/x", "ca"),
        ("redis://:hush@a,b", "sentinel"),
        ("redis+sentinel://:hush@a", "needs the primary's name"),
        ("redis+sentinel://:hush@a:x/m", "port"),
        ("redis+sentinel://a/m?sentinel_password=hush&x=1", "x"),
        ("redis+tls://:hush@a", "expected redis://"),
        ("rediss://:hush@h?private_key=/x", "needs certificate"),
        ("rediss://:hush@h?ca=/nonexistent", "cannot read /nonexistent"),
        ("rediss://:hush@h?ca=/etc/hostname", "no certificates in /etc/hostname"),
        ("rediss://:hush@h?certificate=/etc/hostname", "no private key in /etc/hostname"),
        ("redis+cluster://:hush@a/1", "only database 0, not 1"),
        ("redis+cluster://:hush@a?db=2", "only database 0, not 2"),
        ("redis+cluster://:hush@a/m", "number"),
        ("redis+cluster://:hush@a?pubsub=no", "unknown pubsub"),
        ("redis+cluster://:hush@a?sentinel_password=hush", "sentinel_password"),
        ("redis://:hush@a?pubsub=sharded", "pubsub"),
        ("rediss+cluster://:hush@a?ca=/nonexistent", "cannot read /nonexistent"),
        ("unix+cluster://:hush@a", "absolute path"),
        ("unix+sentinel://:hush@a/m", "absolute path"),
        ("unix://:hush@run/redis.sock", "absolute path"),
        ("unix:///", "absolute path"),
        ("", "expected redis://"),
    ],
)
def test_errors_omit_the_password(url: str, problem: str) -> None:
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
        ("rediss://me:hush@h?ca=/f", "rediss://h:6379/0"),
        (
            "redis+cluster://:hush@a,b?pubsub=classic",
            "redis+cluster://a:6379,b:6379/?pubsub=classic",
        ),
        (
            "redis+sentinel://me:hush@a,b:2/m?sentinel_password=hush",
            "redis+sentinel://a:26379,b:2/m/0",
        ),
        ("rediss+cluster://me:hush@a,[::1]:2", "rediss+cluster://a:6379,[::1]:2"),
    ],
)
def test_shown_urls_have_no_password(url: str, shown: str) -> None:
    address = RedisAddress.parse(url)
    assert str(address) == shown
    assert "hush" not in repr(address)


def test_the_program_accepts_a_cluster() -> None:
    url = "redis+cluster://h:1,i:2"
    assert parse_redis(url).url == url


def test_the_scheme_decides_on_the_endpoint() -> None:
    reactor = MemoryReactorClock()
    for url, kind in (
        ("redis://h", HostnameEndpoint),
        ("redis://10.1.2.3", TCP4ClientEndpoint),
        ("redis://[fe80::1%25lo]", TCP6ClientEndpoint),
        ("unix:///s", UNIXClientEndpoint),
    ):
        endpoint: Any = RedisAddress.parse(url).endpoint(reactor, 1)
        assert isinstance(endpoint.endpoint, kind), url
    sentinel = RedisAddress.parse("redis+sentinel://a/m").endpoint(reactor, 1)
    assert isinstance(sentinel, SentinelEndpoint)
