"""Credentials of a handshake, and the need for a new key."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from opentera_twisted.client.events import BadFrame
from opentera_twisted.client.login import DEFAULT_WINDOW, Login


def first(token: str = "token", recovered: bool | None = None) -> dict[str, Any]:
    return {"recovery": {"token": token, "window": 60, "recovered": recovered}}


def test_a_key_is_used_once_and_then_the_token() -> None:
    login = Login()
    assert login.needs_key
    login.supply("device.k+/=&")
    assert parse_qs(login.query()) == {"id": ["device.k+/=&"]}
    login.key_used()
    assert login.begin(first()) is False
    login.received += 7
    assert parse_qs(login.query()) == {"recover": ["token"], "received": ["7"]}
    login.key_used()
    assert parse_qs(login.query()) == {"recover": ["token"], "received": ["7"]}
    assert login.begin(first("next", recovered=True)) is False
    assert parse_qs(login.query()) == {"recover": ["next"], "received": ["0"]}


@pytest.mark.parametrize("recovered", [None, False, 1, "true"])
def test_every_return_that_is_not_recovered_is_a_gap(recovered: Any) -> None:
    login = Login()
    login.begin(first())
    assert login.begin(first(recovered=recovered)) is True


@pytest.mark.parametrize(
    "window", [10**400, float("nan"), -1, "60", None], ids=["huge", "nan", "below", "text", "none"]
)
def test_an_invalid_window_is_replaced_by_the_default(window: Any) -> None:
    login = Login()
    login.begin({"recovery": {"token": "token", "window": window}})
    login.broke(0.0)
    login.expire(DEFAULT_WINDOW - 1)
    assert not login.needs_key
    login.expire(DEFAULT_WINDOW)
    assert login.needs_key


def test_without_recovery_every_return_is_a_gap() -> None:
    login = Login()
    assert [login.begin(None), login.begin(None)] == [False, True]
    assert login.needs_key


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_inconclusive_answer_keeps_the_credentials(status: int) -> None:
    login = Login()
    login.supply("key")
    assert login.refused(status) is False
    assert login.query() == "id=key"
    login.begin(first())
    assert login.refused(status) is False
    assert login.query() == "recover=token&received=0"


@pytest.mark.parametrize("status", [401, 403])
def test_only_an_old_refused_key_is_replaced_at_once(status: int) -> None:
    login = Login()
    login.supply("key")
    assert login.refused(status) is False
    assert login.needs_key
    login.supply("key")
    login.unreachable()
    assert not login.needs_key
    assert login.refused(status) is True
    assert login.needs_key


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refused_token_is_replaced_by_a_key_at_once(status: int) -> None:
    login = Login()
    login.begin(first())
    assert login.refused(status) is True
    assert login.needs_key


def test_a_key_that_may_be_used_up_is_replaced() -> None:
    login = Login()
    login.supply("key")
    login.key_used()
    assert login.needs_key


def test_a_token_is_shown_until_the_window_is_over() -> None:
    login = Login()
    login.begin(first())
    login.expire(1e9)
    assert not login.needs_key
    login.broke(100.0)
    login.broke(150.0)
    login.expire(159.9)
    assert not login.needs_key
    login.expire(160.0)
    assert login.needs_key


@pytest.mark.parametrize("key", [None, b"key", "", "a b", "a\r\nb", "é", "k" * 4097])
def test_an_invalid_key_is_refused_without_quoting_it(key: Any) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Login().supply(key)
    assert not key or str(key) not in str(caught.value)


@pytest.mark.parametrize(
    "frame",
    [{}, {"recovery": None}, {"recovery": {}}, {"recovery": {"token": 1}}, first(""), first("a b")],
)
def test_a_first_frame_without_a_token_is_refused(frame: Any) -> None:
    with pytest.raises(BadFrame):
        Login().begin(frame)


class LoginMachine(RuleBasedStateMachine):
    """A gateway that counts its frames, and a client whose connection ends at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.login = Login()
        self.keys = 0
        self.tokens: dict[str, int] = {}
        self.sent = 0  # events published since the start
        self.seen = (
            0  # the position up to which this client has all events, or was notified of a gap
        )
        self.base = 0  # the position of the connection's first frame
        self.is_open = False

    @precondition(lambda self: not self.is_open)
    @rule(window_is_over=st.booleans())
    def connect(self, window_is_over: bool) -> None:
        if self.login.needs_key:
            self.keys += 1
            self.login.supply(f"key{self.keys}")
        query = parse_qs(self.login.query())
        if "recover" not in query:
            self.login.key_used()
            if self.login.begin(self.next_token(None)) or not self.seen:
                self.seen = self.sent
            assert self.seen == self.sent
            self.base = self.sent
        else:
            base = self.tokens.pop(query["recover"][0])
            if window_is_over:
                assert self.login.refused(403)
                return
            self.login.key_used()
            position = base + int(query["received"][0])
            assert position == self.seen
            assert self.login.begin(self.next_token(True)) is False
            self.base = position
            self.login.received += self.sent - position
            self.seen = self.sent
        self.tokens[f"token{len(self.tokens)}"] = self.base
        self.is_open = True

    def next_token(self, recovered: bool | None) -> dict[str, Any]:
        return first(f"token{len(self.tokens)}", recovered)

    @rule()
    def publish(self) -> None:
        self.sent += 1
        if self.is_open:
            self.login.received += 1
            self.seen += 1

    @precondition(lambda self: self.is_open)
    @rule()
    def lose(self) -> None:
        self.is_open = False

    @invariant()
    def one_who_is_connected_has_everything(self) -> None:
        assert not self.is_open or self.seen == self.sent


LoginMachine.TestCase.settings = settings(stateful_step_count=30)
TestLoginMachine = LoginMachine.TestCase
