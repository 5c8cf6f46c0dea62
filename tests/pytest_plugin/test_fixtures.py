"""The fixtures, used by the tests of a program in a process of their own."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from tests.helpers.own_pytest import PLUGIN, run_pytest
from tests.helpers.support import ROOT


def test_the_fixtures_serve_the_tests_of_a_program(tmp_path: Path) -> None:
    tests = tmp_path / "test_program.py"
    tests.write_text("""
import pytest
import websocket
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.messages import UserEvent
from opentera_twisted.testing import result_of

UUID = "11111111-2222-3333-4444-555555555555"

def test_memory(memory_bus):
    memory_bus.variables.set("a", "1", ttl=1)
    memory_bus.clock.advance(2)
    assert result_of(memory_bus.variables.get("a")) is None

@pytest.mark.parametrize("round", range(2))
def test_redis_is_empty(redis_server, round):
    with BlockingBus(redis_server.url) as bus:
        assert bus.variables.get("a") is None
        bus.variables.set("a", "1")

@pytest.mark.parametrize("round", range(2))
def test_gateway(gateway, round):
    key = gateway.bus.issue_key("user", UUID)
    client = websocket.create_connection(f"{gateway.url}/wss/user?id={key}", timeout=60)
    assert gateway.bus.publish_event(f"websocket.user.{UUID}.events", UserEvent(user_fullname="Zo"))
    assert "Zo" in client.recv()
    client.close()
""")
    assert "5 passed" in run_pytest(tests)


def test_the_start_of_pytest_imports_no_twisted(tmp_path: Path) -> None:
    tests = tmp_path / "test_program.py"
    tests.write_text("""
import sys

def test_modules():
    assert not {"twisted", "attr", "google.protobuf", "txredisapi"} & {*sys.modules}
""")
    run_pytest(tests, "-p", "no:hypothesispytest", "-p", "no:anyio")


def test_the_package_registers_the_plugin() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert f"{PLUGIN} = {PLUGIN}" in settings["options.entry_points"]["pytest11"]
