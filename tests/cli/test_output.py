"""Output of results on a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opentera_twisted import Listening, Procedures
from opentera_twisted.cli import output, values
from tests.helpers.support import UUID

procedures = Procedures(version="1.2", doc="Adds numbers.")


@procedures.expose
def add(a: int, b: int = 0, *more: int) -> int:
    """Adds two numbers."""
    return a + b


DESCRIPTION = procedures.describe("Sum")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setattr(values, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")


def test_a_description_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_description(DESCRIPTION)
    shown = capsys.readouterr().out
    for text in ("Sum 1.2", "add", "a: int, b: int = 0, *more: int", "Adds numbers."):
        assert text in shown


def test_services_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_services(
        [
            Listening("service.Sum", DESCRIPTION),
            Listening("module.TeraServer.LoginModule", None),
            Listening("service.Bad", None, "the description has an invalid form"),
        ]
    )
    shown = capsys.readouterr().out
    for text in ("service.Sum", "1.2", "add", "module.TeraServer.LoginModule", "does not describe"):
        assert text in shown
    assert "has an invalid form" in shown


def test_online_clients_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    user = {UUID: ["gateways", "registry"], "\x1b[2J": ["registry"]}
    online: Any = {"user": user, "participant": {}, "device": {}}
    output.print_online(online, None, sources=False)
    shown = capsys.readouterr().out
    for text in ("2 online", "kind", "user", UUID, "gateways, registry"):
        assert text in shown
    assert "\x1b[2J" not in shown


def test_latency_is_a_table_of_microseconds(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_latency([0.001, 0.002, 0.0035], 0)
    shown = capsys.readouterr().out
    for text in ("3 calls, in microseconds", "p50", "p99", "1,000", "2,000", "3,500"):
        assert text in shown
    assert "failed" not in shown


def test_latency_counts_calls_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_latency([0.001], 2)
    assert "1 calls, in microseconds; 2 more failed" in capsys.readouterr().out


def test_json_keeps_its_characters(capsys: pytest.CaptureFixture[str]) -> None:
    values.print_json({"name": "Zoé"})
    assert capsys.readouterr().out == '{"name": "Zoé"}\n'


@pytest.mark.parametrize("text", ["\x9b2J", "\u202eevil", "\ud800", "\U000e0001"])
def test_json_escapes_bidirectional_characters(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values.print_json([text])
    shown = capsys.readouterr().out
    assert shown.removesuffix("\n").isprintable()
    assert json.loads(shown) == [text]
