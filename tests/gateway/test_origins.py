"""Origins that may open websockets."""

from __future__ import annotations

import pytest
from hypothesis import given

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.origins import Origins
from tests.helpers.strategies import any_text


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://a.example:443", True),
        ("https://a.example:443", "https://a.example", True),
        ("https://A.example", "https://a.EXAMPLE", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example:8443", "https://a.example:8443", True),
        ("https://a.example", "https://b.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", "https://evila.example", False),
        ("https://a.example", "https://a.example@evil", False),
        ("https://a.example", "null", False),
        ("https://a.example", "file://", False),
        ("https://a.example", "https://a.example/path", False),
        ("https://a.example", "https://a.example\x00", False),
        ("https://a.example", "https://[", False),
        ("https://a.example", "https://a.example:99999", False),
        ("https://a.example", "", True),  # not a page
        ("https://*.example.org", "https://a.example.org", True),
        ("https://*.example.org", "https://a.b.example.org", True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://aexample.org", False),
        ("https://*.example.org", "https://*.example.org", False),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("http://localhost:3000", "http://localhost:3000", True),
        ("*", "https://anywhere", True),
        ("https://a.example", "https://a.example:0", False),
        ("https://a.example", "https://a.example:65536", False),
        ("https://a.example", "ht\ntps://a.example", False),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("capacitor://localhost", "https://localhost", False),
        ("capacitor://localhost", "capacitor://localhost:1", False),
        ("ionic://localhost", "IONIC://localhost", True),
        ("app://-", "app://-", True),
        ("app://.", "app://.", True),
        ("tauri://localhost", "tauri://localhost.evil", False),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop", True),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://other", False),
        ("moz-extension://0e24a6f3-45a4", "moz-extension://0e24a6f3-45a4", True),
        ("null", "null", True),
        ("null", "https://null", False),
        ("null", "file://", True),
        ("file://", "null", True),
        ("https://null", "null", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(allowed: str, origin: str, expected: bool) -> None:
    assert Origins([allowed]).allow(origin) is expected


def test_one_of_several_must_match() -> None:
    origins = Origins(["https://a.example", "https://b.example"])
    assert origins.allow("https://b.example")
    assert not origins.any


def test_without_origins_every_page_is_accepted() -> None:
    assert Origins().any
    assert Origins().allow("https://anywhere")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "https://",
        "ws://a",
        "https://a/",
        "https://a?b",
        "https://*",
        "https://a:b",
        "https://a:65536",
        "capacitor://",
        "capacitor:localhost",
        "null/",
    ],
)
def test_an_invalid_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an origin"):
        Origins([text])


@given(any_text())
def test_no_text_fails_or_passes_by_accident(text: str) -> None:
    assert Origins(["https://a.example"]).allow(text) == (text == "")


def test_null_differs_from_any() -> None:
    assert Origins(["https://a.example", "null"]).null
    assert not Origins(["https://a.example", "*"]).null
