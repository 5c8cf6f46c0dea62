"""Subprotocols: the selected one, and refused offers."""

from __future__ import annotations

import pytest

from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.subprotocols import RECOVERY, select


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ([], None),
        ([""], None),
        (["chat"], "chat"),
        (["chat", "superchat"], "chat"),
        (["", "chat"], "chat"),
        ([RECOVERY, "events"], "events"),
        (["events", RECOVERY], "events"),
    ],
)
def test_the_first_name_that_is_not_reserved_is_selected(
    offered: list[str], selected: str | None
) -> None:
    assert select(offered) == selected


@pytest.mark.parametrize("offered", [[RECOVERY], ["events", RECOVERY], ["", RECOVERY, "x"]])
def test_a_supported_reserved_name_comes_first(offered: list[str]) -> None:
    assert select(offered, [RECOVERY]) == RECOVERY


@pytest.mark.parametrize(
    "offered", [[RECOVERY], [RECOVERY, "opentera-bus.x"], ["a b"], ["chat", "(x)"], ["caf\xe9"]]
)
def test_reserved_and_malformed_names_are_refused(offered: list[str]) -> None:
    with pytest.raises(Refusal) as raised:
        select(offered)
    assert raised.value.status == 400
    assert "caf" not in raised.value.cause
