"""Timeouts in seconds, wherever a caller can give one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from opentera_twisted import InvalidArgument, Procedures, SessionKeys
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.gateway import GatewayLimits, RpcIdentities
from opentera_twisted.program.option_values import seconds
from opentera_twisted.testing import MemoryBus
from tests.helpers.support import UUID

WRONG = [0, -1, -0.0, math.nan, math.inf, -math.inf, 2**40, 10**400, 10**5000, 1e300, True, "1"]


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.mark.parametrize("value", [*WRONG, None], ids=range(len(WRONG) + 1))
@pytest.mark.parametrize(
    "ask",
    [
        lambda bus, value: bus.call("A", "b", timeout=value),
        lambda bus, value: bus.call_service("A", "b", timeout=value),
        lambda bus, value: bus.call_server("service.A", "b", timeout=value),
        lambda bus, value: bus.call_all("service.A", "b", timeout=value),
        lambda bus, value: bus.describe("service.A", timeout=value),
        lambda bus, value: bus.services(timeout=value),
        lambda bus, value: bus.proxy("service.A", timeout=value),
        lambda bus, value: bus.link.execute("GET", "a", timeout=value),
        lambda bus, value: RpcIdentities(bus, "service.A", value),
        lambda bus, value: SessionKeys(bus).issue("user", UUID, ttl=value),
    ],
)
def test_an_invalid_timeout_is_refused_at_once(
    ask: Callable[[Any, Any], Any], value: Any, bus: MemoryBus
) -> None:
    with pytest.raises(InvalidArgument, match="number of seconds"):
        ask(bus, value)
    assert not bus.published


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
def test_an_invalid_optional_timeout_is_refused(value: Any, bus: MemoryBus) -> None:
    with pytest.raises(InvalidArgument, match="number of seconds"):
        bus.variables.set("a", "1", ttl=value)
    with pytest.raises(InvalidArgument, match="number of seconds"):
        bus.variables.compare_and_set("a", None, "1", ttl=value)
    with pytest.raises(InvalidArgument, match="the timeout of f must be a number of seconds"):
        Procedures().expose(name="f", timeout=value)(print)


@pytest.mark.parametrize("name", ["handshake_timeout", "shutdown_timeout"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e300, "1"])
def test_limits_of_a_gateway_are_numbers_of_seconds(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"must be|not supported"):
        GatewayLimits(**{name: value})


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e400", "1e300", "9" * 400, "x", ""])
def test_options_are_numbers_of_seconds(text: str) -> None:
    with pytest.raises(InvalidArgument, match="expected seconds"):
        seconds(text)


@pytest.mark.parametrize("value", [0.001, 1, 86_400, 2**31 - 1])
def test_numbers_of_seconds_are_accepted(value: float) -> None:
    check_timeout(value)


def test_a_timeout_ends_within_a_lifetime() -> None:
    with pytest.raises(InvalidArgument, match="below 2147483648, not 2147483648"):
        check_timeout(2**31)
