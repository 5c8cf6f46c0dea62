"""The repr of public objects: state and address, without secrets."""

from __future__ import annotations

from opentera_twisted import Bus, Procedures
from opentera_twisted.testing import MemoryBus, MemoryClock, result_of


def test_the_repr_of_a_bus_has_name_address_and_state() -> None:
    bus = Bus("redis://user:hush@h:1/2", reactor=MemoryClock(), name="mine")
    assert repr(bus) == "<Bus 'mine' at redis://h:1/2: not started>"


def test_the_repr_of_a_bus_has_each_state_of_its_link() -> None:
    bus = MemoryBus()
    assert repr(bus).endswith(": ready>")
    bus.disconnect()
    assert repr(bus).endswith(": connecting>")
    result_of(bus.stopService())
    assert repr(bus).endswith(": stopped>")


def test_other_reprs_have_name_and_state() -> None:
    bus = MemoryBus()
    subscription = result_of(bus.subscribe("a", print))
    watch = result_of(bus.variables.watch("b", print))
    server = result_of(bus.serve_service("C", Procedures()))
    assert repr(subscription) == "<Subscription to 'a': active>"
    assert repr(watch) == "<Watch of 'b': active>"
    assert repr(server) == "<ProcedureServer on service.C.rpc: listening>"
    for ending in (subscription.cancel(), watch.cancel(), server.stop()):
        result_of(ending)
    assert repr(subscription) == "<Subscription to 'a': cancelled>"
    assert repr(watch) == "<Watch of 'b': cancelled>"
    assert repr(server) == "<ProcedureServer on service.C.rpc: stopped>"
