"""The target of a request: the fast path agrees with the full parser."""

from __future__ import annotations

import re
from http import HTTPStatus
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opentera_twisted.gateway import login
from opentera_twisted.gateway.login import Login, Refusal, parse_login
from opentera_twisted.gateway.trusted_proxies import Peer

NO_COUNT = "received is not one count of event frames, from 0 to 999999999999999"
PEER = Peer("192.0.2.1", secure=False)

pieces = st.sampled_from(
    [
        *("/wss/", "user", "device", "?", "id=", "&", "id", "%75", "+", "é", "a.B-_9", ";", "#"),
        *("\n", "recover=", "received=", "0", "58", "9" * 15),
    ]
)


def found(keys: int, tokens: int) -> tuple[HTTPStatus, str]:
    text = f"{keys} session keys and {tokens} tokens of recovery in the query"
    return HTTPStatus.FORBIDDEN, text


targets = st.lists(pieces, max_size=9).map("".join)


def outcome(target: str) -> Login | tuple[HTTPStatus, str]:
    try:
        return parse_login(target, PEER)
    except Refusal as refusal:
        return refusal.status, refusal.cause


@given(
    st.one_of(
        targets,
        targets.map("/wss/user?id=".__add__),
        targets.map("/wss/user?recover=a-_9&received=".__add__),
    )
)
@example("/wss/user?recover=a-_9&received=0058")
@example("/wss/user?recover=&received=5")
@example("/wss/nobody?recover=a&received=5")
@example("/wss/user?id=user.abc-_9")
@example("/wss/user?id=")
@example("/wss/nobody?id=a")
@example("/wss/user?id=a\n")
def test_the_fast_path_agrees_with_the_full_parser(target: str) -> None:
    fast = outcome(target)
    with patch.object(login, "_USUAL", re.compile("(?!)")):
        assert outcome(target) == fast


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/wss/user?id=user.abc-_9", Login("user", "user.abc-_9", PEER)),
        ("/wss/device?a=b&id=%75ser", Login("device", "user", PEER)),
        ("/wss/user?id=a&id=b", found(2, 0)),
        ("/wss/user", found(0, 0)),
        ("/wss/user?recover=a&received=1&id=b", found(1, 1)),
        ("/wss/user?recover=a&recover=b&received=1", found(0, 2)),
        ("/wss/user?recover=a&received=58", Login("user", "a", PEER, received=58)),
        ("/wss/user?received=0&recover=", Login("user", "", PEER, received=0)),
        *[
            (f"/wss/user?recover=a{count}", (HTTPStatus.BAD_REQUEST, NO_COUNT))
            for count in (
                "",
                "&received=",
                "&received=-1",
                "&received=1.5",
                "&received=x",
                "&received=9999999999999999",
                "&received=1&received=1",
            )
        ],
        ("/wss/user?" + "a&" * 101, (HTTPStatus.FORBIDDEN, "more than 100 fields in the query")),
        ("/wss/nobody?" + "a&" * 101, (HTTPStatus.NOT_FOUND, "no such path")),
    ],
)
def test_a_target_names_a_kind_and_exactly_one_key(
    target: str, expected: Login | tuple[HTTPStatus, str]
) -> None:
    assert outcome(target) == expected
