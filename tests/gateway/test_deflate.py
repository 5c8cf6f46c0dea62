"""Offers of permessage-deflate: accepted and declined ones."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.deflate import NAME, agree
from tests.helpers.strategies import any_text

BITS = st.integers(9, 15)
NO_TAKEOVER = "client_no_context_takeover"


def answer(offers: str, window_bits: int = 15) -> str | None:
    """Return the header of the answer, or None."""
    agreed = agree(offers, window_bits, 0)
    return None if agreed is None else str(agreed.get_extension_string())


@pytest.mark.parametrize(
    "parameters",
    [
        "client_max_window_bits=8",
        "client_max_window_bits=16",
        "client_max_window_bits=09",
        "client_max_window_bits=1_0",
        "client_max_window_bits=+9",
        "client_max_window_bits=x",
        "server_max_window_bits",
        "server_max_window_bits=8",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "client_no_context_takeover=1",
        "server_no_context_takeover=1",
        "unknown",
        "unknown=1",
        "client_max_window_bits; client_max_window_bits",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_an_unusable_offer_is_declined(parameters: str) -> None:
    unusable = f"{NAME}; {parameters}"
    assert answer(unusable) is None
    assert answer(f"{unusable}, {NAME}") == f"{NAME}; {NO_TAKEOVER}", "the next offer is accepted"


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        (f"{NAME}", NO_TAKEOVER),
        (f"{NAME.upper()}", NO_TAKEOVER),
        (f"x, {NAME} ,y", NO_TAKEOVER),
        (f"{NAME}; client_max_window_bits", f"{NO_TAKEOVER}; client_max_window_bits=12"),
        (f"{NAME}; client_max_window_bits=15", f"{NO_TAKEOVER}; client_max_window_bits=12"),
        (f"{NAME}; client_max_window_bits=9", f"{NO_TAKEOVER}; client_max_window_bits=9"),
        (f'{NAME};client_max_window_bits="9"', f"{NO_TAKEOVER}; client_max_window_bits=9"),
        (f"{NAME}; server_no_context_takeover", f"server_no_context_takeover; {NO_TAKEOVER}"),
        (f"{NAME}; server_max_window_bits=12", f"server_max_window_bits=12; {NO_TAKEOVER}"),
    ],
)
def test_a_usable_offer_is_answered(offers: str, expected: str) -> None:
    assert answer(offers, 12) == f"{NAME}; {expected}"


def test_a_window_below_the_gateways_is_declined() -> None:
    assert answer(f"{NAME}; server_max_window_bits=11", 12) is None


@pytest.mark.parametrize("offers", ["", ",", "x", "x-webkit-deflate-frame", 'foo; bar="1"; baz'])
def test_other_extensions_are_declined(offers: str) -> None:
    assert answer(offers) is None


@pytest.mark.parametrize(
    "offers",
    [
        *(";", "a;", "a;;b", "a b", "=", 'a; b="c', 'a; b="c,d"', "a; b=", "(a)", "a; b=c d"),
        *("\n", "a,\n", "a\n"),
    ],
)
@pytest.mark.parametrize("window_bits", [0, 15])
def test_a_malformed_header_is_an_error(offers: str, window_bits: int) -> None:
    with pytest.raises(InvalidArgument, match="malformed"):
        answer(offers, window_bits)


def test_without_compression_every_offer_is_declined() -> None:
    assert answer(NAME, 0) is None


@given(st.none() | BITS, st.booleans(), st.none() | BITS, st.booleans(), BITS)
def test_the_answer_never_exceeds_the_offer(
    client: int | None, asks: bool, server: int | None, no_takeover: bool, own: int
) -> None:
    offer = NAME
    if client is not None:
        offer += f"; client_max_window_bits={client}"
    elif asks:
        offer += "; client_max_window_bits"
    if server is not None:
        offer += f"; server_max_window_bits={server}"
    if no_takeover:
        offer += "; server_no_context_takeover"
    text = answer(offer, own)
    if text is None:
        assert server is not None
        assert server < own
        return
    told = dict(part.strip().partition("=")[::2] for part in text.split(";"))
    if client is None and not asks:
        assert "client_max_window_bits" not in told
    else:
        assert int(told["client_max_window_bits"]) <= min(client or 15, own)
    assert ("server_max_window_bits" in told) == (server is not None)
    if server is not None:
        assert int(told["server_max_window_bits"]) <= server
    assert ("server_no_context_takeover" in told) == no_takeover


@given(st.text(st.sampled_from('permessage-deflate;=, "\t_13x'), max_size=60) | any_text())
def test_any_header_is_answered_or_malformed(offers: str) -> None:
    with suppress(InvalidArgument):
        answer(offers)
