"""Warnings of results that nobody uses, as after a forgotten await."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed

from opentera_twisted import SessionKeys
from opentera_twisted.testing import MemoryBus

UUID = "11111111-2222-3333-4444-555555555555"

FORGOTTEN: dict[str, Callable[[MemoryBus], Any]] = {
    "variables.get": lambda bus: bus.variables.get("a"),
    "presence.online": lambda bus: bus.presence.online("user"),
    "presence.everyone": lambda bus: bus.presence.everyone(),
    "issue": lambda bus: SessionKeys(bus).issue("user", UUID),
}


def warned(function: Callable[[MemoryBus], object]) -> list[warnings.WarningMessage]:
    """Return the warnings of a call."""
    bus = MemoryBus()
    bus.variables.set("a", "1")
    bus.disconnect()  # so that no result has fired yet
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(bus)
        bus.reconnect()
        bus.clock.advance(1)
        gc.collect()
    return [warning for warning in caught if warning.category is RuntimeWarning]


@pytest.mark.parametrize("name", FORGOTTEN)
def test_a_forgotten_await_is_warned_of_at_its_line(name: str) -> None:
    (warning,) = warned(FORGOTTEN[name])
    assert str(warning.message) == f"the result of {name} was never used: write await before it"
    line = FORGOTTEN[name].__code__.co_firstlineno
    assert (warning.filename, warning.lineno) == (__file__, line)


async def awaits(bus: MemoryBus) -> None:
    await bus.variables.get("a")


@inlineCallbacks
def yields(bus: MemoryBus) -> Any:
    yield bus.variables.get("a")


@pytest.mark.parametrize(
    "use",
    [
        lambda bus: Deferred.fromCoroutine(awaits(bus)),
        yields,
        lambda bus: gatherResults([bus.variables.get("a"), bus.variables.get("b")]),
        lambda bus: bus.variables.get("a").addErrback(print),
        lambda bus: bus.variables.get("a").addErrback(lambda _: None).cancel(),
        lambda bus: bus.publish("a", "nobody").addCallback(lambda _: bus.variables.get("a")),
        lambda bus: succeed(None).addCallback(lambda _: bus.variables.get("a")),
        lambda bus: bus.publish("a", "nobody"),
        lambda bus: bus.subscribe("a", print),
        lambda bus: bus.call_service("S", "f").addErrback(lambda _: None),
        lambda bus: bus.variables.set("a", "1"),
    ],
)
def test_a_used_or_optional_result_is_not_warned_of(use: Callable[[MemoryBus], object]) -> None:
    assert warned(use) == []


def test_a_result_that_a_callback_returns_late_is_not_warned_of() -> None:
    def use(bus: MemoryBus) -> None:
        result = bus.variables.get("a")
        bus.reconnect()
        bus.clock.advance(1)
        assert result.called
        succeed(None).addCallback(lambda _: result)

    assert warned(use) == []
