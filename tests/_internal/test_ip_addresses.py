"""IP addresses: parsed and compared in one place."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted._internal.failed_logins import FailedLogins
from opentera_twisted._internal.ip_addresses import (
    canonical_ip,
    is_loopback,
    network_of,
    parse_ip,
    parse_network,
    same_host,
)
from opentera_twisted.gateway.trusted_proxies import Peer, TrustedProxies
from opentera_twisted.program.option_values import is_loopback as is_loopback_endpoint
from tests.helpers.strategies import any_text

PLACES = {
    "1.2.3.4": "1.2.3.4",
    "::ffff:1.2.3.4": "1.2.3.4",
    "::FFFF:102:304": "1.2.3.4",
    "0:0::1": "::1",
    "fe80::1%eth0": "fe80::1%eth0",
    "FE80:0::1%eth0": "fe80::1%eth0",
}
NO_ADDRESSES = ("", "unix", "localhost", "1.2.3", "01.2.3.4", "fe80::1%", "%eth0", "1.2.3.4%eth0")


@pytest.mark.parametrize("text", PLACES)
def test_an_address_has_one_form(text: str) -> None:
    assert str(parse_ip(text)) == PLACES[text]


@given(st.lists(st.sampled_from([*PLACES, "unix"]), max_size=8), st.integers(0, 70))
def test_repeated_and_long_texts_give_the_same_results(texts: list[str], length: int) -> None:
    for text in [*texts, f"fe80::1%{'e' * length}"]:
        canonical = canonical_ip(text)
        assert canonical == (None if parse_ip(text) is None else str(parse_ip(text)))
        assert canonical == PLACES.get(text, canonical)
        assert network_of(text) == network_of.__wrapped__(text)  # type: ignore[attr-defined]


def test_long_texts_of_clients_are_not_kept() -> None:
    text = f"fe80::1%{'e' * 10_000}"
    before = sys.getrefcount(text)
    for parse in (parse_ip, canonical_ip, network_of):
        parse(text)
    assert sys.getrefcount(text) == before


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_other_text_is_rejected(text: str) -> None:
    assert parse_ip(text) is None
    assert not is_loopback(text)
    assert not same_host(text, text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("fe80::1", "fe80::1%eth0", True),  # clients omit their scope
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("fe80::1", "fe80::2", False),
        ("0.0.0.1", "::1", False),
    ],
)
def test_addresses_of_one_host(one: str, other: str, same: bool) -> None:
    assert same_host(one, other) is same
    assert same_host(other, one) is same


@pytest.mark.parametrize("text", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "0::1"])
def test_loopback_addresses(text: str) -> None:
    assert is_loopback(text)
    endpoint = f"tcp6:1:interface={text}".replace("::", r"\:\:").replace("ffff:", r"ffff\:")
    assert is_loopback_endpoint(endpoint)


@given(any_text() | st.sampled_from(sorted(PLACES)), any_text(max_size=3))
def test_no_text_makes_parsing_fail(text: str, end: str) -> None:
    for variant in (text, text + end, f"{text}%{end}"):
        parse_ip(variant)
        is_loopback(variant)
        same_host(variant, text)
        failed = FailedLogins(1, lambda: 0.0)
        failed.add(variant)
        assert failed.are_too_many(variant)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("fe80::1%eth0", "fe80::2%eth0", True),  # one network, as elsewhere in IPv6
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
    ],
)
def test_failed_logins_count_scoped_addresses(one: str, other: str, same: bool) -> None:
    failed = FailedLogins(1, lambda: 0.0)
    failed.add(one)
    assert failed.are_too_many(one)
    assert failed.are_too_many(other) is same


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        ("fe80::/10", "fe80::1%eth0", "192.0.2.1"),
        ("fe80::1", "fe80::1%eth0", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth1", "fe80::1%eth1"),  # another host on another link
        ("fe80::1%eth0", "fe80::1", "fe80::1"),
        ("::ffff:10.0.0.0/104", "10.0.0.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1"),
        ("10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1"),
    ],
)
def test_a_trusted_proxy_is_known_by_any_form_of_its_address(
    trusted: str, peer: str, expected: str
) -> None:
    proxies = TrustedProxies([trusted])
    client = proxies.client(Peer(peer, secure=False), {"x-forwarded-for": "192.0.2.1"})
    assert client.address == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::7%evil\x1b[31m", "fe80::7"),  # a scope has a meaning on the proxy only
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ],
)
def test_a_forwarded_address_has_one_form(forwarded: str, expected: str) -> None:
    proxies = TrustedProxies(["10.0.0.1"])
    client = proxies.client(Peer("10.0.0.1", secure=False), {"x-forwarded-for": forwarded})
    assert client.address == expected


@pytest.mark.parametrize("text", ["::ffff:10.0.0.0/95", "fe80::1%eth0/64", "fe80::1%"])
def test_an_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|network|host bits"):
        parse_network(text)
