"""Addresses of clients behind proxies."""

from __future__ import annotations

import pytest
from hypothesis import given

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.trusted_proxies import Peer, TrustedProxies
from tests.helpers.strategies import any_text

PROXIES = TrustedProxies(["10.0.0.0/8", "::1", "unix"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # untrusted: its headers are ignored
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("unix", "2001:db8::1", "2001:db8::1"),
        # Any client can forge the part before the last untrusted address.
        ("10.0.0.1", "127.0.0.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, junk, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ],
)
def test_the_client_is_the_last_untrusted_address(
    peer: str, forwarded: str | None, expected: str
) -> None:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    assert PROXIES.client(Peer(peer, secure=False), headers).address == expected


@pytest.mark.parametrize(
    ("peer", "proto", "expected"),
    [
        ("192.0.2.1", "https", False),
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "WSS ", True),
        ("10.0.0.1", "http", False),
    ],
)
def test_only_trusted_proxies_decide_on_tls(peer: str, proto: str, expected: bool) -> None:
    headers = {"x-forwarded-proto": proto}
    assert PROXIES.client(Peer(peer, secure=False), headers).secure is expected


@given(any_text())
def test_no_header_fails(text: str) -> None:
    PROXIES.client(Peer("10.0.0.1", secure=False), {"x-forwarded-for": text})


@pytest.mark.parametrize("text", ["", "proxy.example", "10.0.0.1/8", "300.0.0.1"])
def test_an_invalid_proxy_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a proxy's address"):
        TrustedProxies([text])
