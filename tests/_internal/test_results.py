"""`result_of`: values, failures and Deferreds that have not fired."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from opentera_twisted import NoResponder
from opentera_twisted.testing import MemoryBus, result_of


def test_a_value_is_returned() -> None:
    assert result_of(succeed(3)) == 3


def test_a_failure_is_raised() -> None:
    with pytest.raises(KeyError):
        result_of(fail(KeyError("a")))


def test_a_deferred_that_has_not_fired_is_an_error() -> None:
    waiting: Deferred[None] = Deferred()
    with pytest.raises(AssertionError, match="advance"):
        result_of(waiting)


def test_errors_of_a_memory_bus_are_raised() -> None:
    bus = MemoryBus()
    with pytest.raises(NoResponder):
        result_of(bus.call_service("Absent", "add"))
