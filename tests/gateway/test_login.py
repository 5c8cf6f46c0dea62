"""The target of a login's request: what is read fast is what is read in full."""

from __future__ import annotations

import re
from http import HTTPStatus
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opentera_twisted.gateway import login
from opentera_twisted.gateway.login import Login, Refusal, parse_login
from opentera_twisted.gateway.proxies import Peer

PEER = Peer("192.0.2.1", secure=False)

pieces = st.sampled_from(
    ["/wss/", "user", "device", "?", "id=", "&", "id", "%75", "+", "é", "a.B-_9", ";", "#", "\n"]
)
targets = st.lists(pieces, max_size=9).map("".join)


def outcome(target: str) -> Login | tuple[HTTPStatus, str]:
    try:
        return parse_login(target, PEER)
    except Refusal as refusal:
        return refusal.status, refusal.cause


@given(st.one_of(targets, targets.map("/wss/user?id=".__add__)))
@example("/wss/user?id=user.abc-_9")
@example("/wss/user?id=")
@example("/wss/nobody?id=a")
@example("/wss/user?id=a\n")
def test_usual_targets_are_read_as_all_others(target: str) -> None:
    fast = outcome(target)
    with patch.object(login, "_USUAL", re.compile("(?!)")):
        assert outcome(target) == fast


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/wss/user?id=user.abc-_9", Login("user", "user.abc-_9", PEER)),
        ("/wss/device?a=b&id=%75ser", Login("device", "user", PEER)),
        ("/wss/user?id=a&id=b", (HTTPStatus.FORBIDDEN, "2 session keys in the query")),
        ("/wss/user", (HTTPStatus.FORBIDDEN, "0 session keys in the query")),
        ("/wss/user?" + "a&" * 101, (HTTPStatus.FORBIDDEN, "more than 100 fields in the query")),
        ("/wss/nobody?" + "a&" * 101, (HTTPStatus.NOT_FOUND, "no such path")),
    ],
)
def test_a_target_names_a_kind_and_exactly_one_key(
    target: str, expected: Login | tuple[HTTPStatus, str]
) -> None:
    assert outcome(target) == expected
