"""``opentera-bus`` as a process: data on standard output, messages on standard error, statuses."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import click
import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted import Identity, ProcedureError, Procedures, SessionKeys
from opentera_twisted.cli.commands import load_commands
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import TeraEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import unpack
from opentera_twisted.rpc.description import from_json
from opentera_twisted.topics import websocket_events
from tests.helpers.commands import CommandTestCase
from tests.helpers.existing import ExistingServer
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import UUID, free_port, message, until
from tests.helpers.websockets import connect

_INTERRUPTED = """
import builtins, os, signal, sys
there, *sys.argv[1:] = sys.argv[1:]
import_ = builtins.__import__
def interrupting(name, *arguments):
    if name == there:
        os.kill(os.getpid(), signal.SIGINT)
    return import_(name, *arguments)
builtins.__import__ = interrupting
from opentera_twisted.cli import main
main()
"""


@pytest.mark.parametrize("there", ["opentera_twisted.bus", "opentera_twisted.cli.commands"])
def test_ctrl_c_while_the_command_loads_prints_nothing(there: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, there, "services"],
        capture_output=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def summaries(group: click.Group, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command with its line in the help of its group."""
    for name, command in group.commands.items():
        yield f"{path}{name}", command.get_short_help_str(limit=60)
        if isinstance(command, click.Group):
            yield from summaries(command, f"{name} ")


@pytest.mark.parametrize(("name", "summary"), list(summaries(load_commands())))
def test_the_summary_of_a_command_fits_its_line(name: str, summary: str) -> None:
    assert not summary.endswith("..."), name


class CommandLineTests(CommandTestCase):
    async def test_variables(self) -> None:
        assert await self.run_command("set", "a", "Zoé") == (0, "", "")
        assert self.redis.get("a") == "Zoé".encode()
        assert await self.run_command("get", "a") == (0, "Zoé", "")
        await self.run_command("set", "b", "hex:00ff", "--ttl", "50")
        assert self.redis.get("b") == b"\x00\xff"
        assert 0 < self.redis.ttl("b") <= 50
        result = await self.run_command("set", "a", "x", "--only-if-absent")
        assert result == (1, "", "opentera-bus: a already exists\n")
        result = await self.run_command("get", "none")
        assert result == (1, "", "opentera-bus: there is no variable none\n")
        assert await self.run_command("delete", "a", "b", "none") == (0, "2\n", "")
        assert self.redis.dbsize() == 0

    async def test_publish(self) -> None:
        pubsub = self.subscribed("t")
        result = await self.run_command("publish", "t", '{"@type": "UserEvent", "userUuid": "u"}')
        assert result == (0, "1\n", "")
        event = TeraEvent.FromString(await message(pubsub))
        assert event.header.topic == "t"
        assert [unpack(packed) for packed in event.events] == [UserEvent(user_uuid="u")]
        envelope = '{"@type": "TeraModuleMessage", "head": {"source": "s"}}'
        await self.run_command("publish", "t", envelope)
        assert TeraModuleMessage.FromString(await message(pubsub)).head.source == "s"
        await self.run_command("publish", "--raw", "t", "hex:00ff")
        assert await message(pubsub) == b"\x00\xff"
        events = '[{"@type": "UserEvent", "userUuid": "u"}, {"@type": "LogEvent"}]'
        for source in ((), ("--source", "me")):
            await self.run_command("publish", "--module-message", *source, "t", events)
            envelope_sent = TeraModuleMessage.FromString(await message(pubsub))
            assert envelope_sent.head.dest == "t"
            assert envelope_sent.head.source == (source[1] if source else "opentera-bus-cli")
            assert unpack(envelope_sent.data[0]) == UserEvent(user_uuid="u")
            assert len(envelope_sent.data) == 2

    async def test_call(self) -> None:
        procedures = Procedures()

        @procedures.expose
        def show(*values: bool | int | float | str | bytes) -> list[str]:  # noqa: PYI041
            return [repr(value) for value in values]

        bus = await self.bus()
        await bus.serve_service("Ours", procedures)
        await bus.serve_module("Ours.Module", procedures)
        arguments = ("-5", "true", "1.5", "text", '"5"', "hex:00")
        result = await self.run_command("call", "service.Ours", "show", *arguments)
        assert result.errors == ""
        assert json.loads(result.output) == ["-5", "True", "1.5", "'text'", "'5'", r"b'\x00'"]
        result = await self.run_command("call", "module.Ours.Module", "show")
        assert result == (0, "[]\n", "")
        result = await self.run_command("call", "service.Ours", "none")
        assert result.status == 1
        assert result.errors.count("\n") == 1
        result = await self.run_command("call", "service.Nobody", "x")
        assert result == (1, "", "opentera-bus: nobody listens on service.Nobody.rpc\n")

    async def test_a_result_that_is_not_json_is_reported(self) -> None:
        # As existing Python programs write it.
        server = ExistingServer(
            self.server.client(), "service.Foreign.rpc", figures=lambda: {"mean": float("nan")}
        )
        self.addCleanup(deferToThread, server.close)
        result = await self.run_command("call", "service.Foreign", "figures")
        assert (result.status, result.output) == (1, "")
        assert result.errors == (
            "opentera-bus: service.Foreign: figures returned a value that JSON cannot express: "
            "{'mean': nan}\n"
        )

    async def test_services_and_their_procedures_are_listed(self) -> None:
        procedures = Procedures(version="1", doc="Adds.")

        @procedures.expose
        def add(a: int, b: int = 0) -> int:
            """Adds two numbers."""
            return a + b

        bus = await self.bus()
        await bus.serve_service("Sum", procedures)
        result = await self.run_command("describe", "service.Sum")
        assert from_json(json.loads(result.output), "t") == procedures.describe("Sum")

        async def listed() -> Any:
            result = await self.run_command("services")
            (listening,) = json.loads(result.output)
            return listening

        # A busy machine may answer later than the command waits.
        listening = await until(listed, lambda found: found["description"] is not None)
        assert listening["server"] == "service.Sum"
        assert listening["description"]["version"] == "1"
        result = await self.run_command("stub", "service.Sum")
        assert "def add(self, a: int, b: int = ...) -> Awaitable[int]:" in result.output
        result = await self.run_command("call", "service.Sum", "add", "1", "2", "--repeat", "20")
        latency = json.loads(result.output)
        assert latency["calls"] == 20
        assert latency["failed"] == 0
        assert latency["seconds"]["p50"] > 0
        result = await self.run_command("describe", "service.Nobody")
        assert result == (1, "", "opentera-bus: nobody listens on service.Nobody.rpc\n")
        result = await self.run_command("call", "service.Sum", "add", "--timeout", "0", "1")
        assert result.status == 2

    async def test_repeat_prints_nothing_but_figures_in_a_pipe(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Sum", Procedures())
        arguments = ("call", "service.Sum", "opentera.ping", "--repeat", "2")
        result = await self.run_command(*arguments)
        assert (result.status, result.errors) == (0, "")
        assert json.loads(result.output)["calls"] == 2

    async def test_a_value_may_begin_with_a_dash(self) -> None:
        assert await self.run_command("set", "x", "-5") == (0, "", "")
        assert self.redis.get("x") == b"-5"
        pubsub = self.subscribed("t")
        assert await self.run_command("publish", "--raw", "t", "-5") == (0, "1\n", "")
        assert await message(pubsub) == b"-5"
        assert (await self.run_command("set", "x", "1", "--tll", "5")).status == 2

    async def test_session_keys(self) -> None:
        result = await self.run_command("key", "issue", "user", UUID, "--ttl", "9", "--name", "Zoé")
        assert (result.status, result.errors) == (0, "")
        key = result.output.strip()
        assert 0 < self.redis.ttl(key) <= 9
        keys = SessionKeys(await self.bus())
        assert await keys.redeem("user", key) == Identity("user", UUID, "Zoé")

    async def test_who_is_online_and_disconnecting_them(self) -> None:
        everyone: dict[str, list[str]] = {"user": [], "participant": [], "device": []}
        result = await self.run_command("online")
        assert (result.status, json.loads(result.output)) == (0, everyone)
        bus = await self.bus(self.gateway_url)
        gateway = Gateway(bus)
        gateway.startService()
        self.addCleanup(gateway.stopService)
        listen: Any = reactor.listenTCP
        port = listen(0, gateway.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        reports = self.subscribed("module.TeraServer.UserManagerModule.messages")
        key = await SessionKeys(bus).issue("device", UUID)
        client = await connect(port.getHost().port, f"/wss/device?id={key}")
        await message(reports)
        result = await self.run_command("online")
        assert json.loads(result.output) == {**everyone, "device": [UUID]}
        assert await self.run_command("online", "device") == (0, f'["{UUID}"]\n', "")
        assert await self.run_command("online", "user") == (0, "[]\n", "")
        # A user known only to the registry of an existing server.
        registry = Procedures()
        elsewhere = str(uuid4())
        registry.expose(name="online_users")(lambda: [elsewhere])
        registry.expose(name="online_participants")(lambda: [elsewhere][1:])
        registry.expose(name="online_devices")(lambda: [UUID])
        server = await bus.serve_module("TeraServer.UserManagerModule", registry)
        assert await self.run_command("online", "user") == (0, f'["{elsewhere}"]\n', "")
        result = await self.run_command("online", "--sources")
        assert json.loads(result.output) == {
            "user": {elsewhere: ["registry"]},
            "participant": {},
            "device": {UUID: ["gateways", "registry"]},
        }
        await server.stop()
        assert await self.run_command("disconnect", "device", UUID) == (0, "1\n", "")
        assert (await client.closed)[0] == 4000
        await message(reports)
        result = await self.run_command("disconnect", "device", UUID)
        errors = f"opentera-bus: no gateway has a websocket of device {UUID}\n"
        assert result == (1, "", errors)
        assert (await self.run_command("disconnect", "device", "x")).status == 2

    async def test_redis_away_is_one_line_with_the_cause(self) -> None:
        url = f"redis://:hush@127.0.0.1:{free_port()}"
        result = await self.run_command("--timeout", "2", "get", "a", url=url)
        assert (result.status, result.output) == (1, "")
        assert result.errors.count("\n") == 1
        assert "refused" in result.errors
        assert "hush" not in result.errors

    async def test_a_wrong_command_line_has_status_2(self) -> None:
        for arguments in (
            ("none",),
            ("get",),
            ("key", "issue", "admin", UUID),
            ("delete",),
            ("online", "x"),
        ):
            result = await self.run_command(*arguments)
            assert (result.status, result.output) == (2, ""), arguments
            assert "Usage: opentera-bus" in result.errors

    async def told(self, mistakes: dict[tuple[str, ...], str]) -> None:
        """Make each mistake with an unreachable Redis."""
        away = f"redis://127.0.0.1:{free_port()}"
        for arguments, problem in mistakes.items():
            result = await self.run_command(*arguments, url=away)
            assert (result.status, result.output) == (2, ""), result
            assert "Usage: opentera-bus" in result.errors, result.errors
            assert problem in " ".join(result.errors.split()), result.errors

    async def test_invalid_options_are_reported_before_redis_is_used(self) -> None:
        await self.told(
            {
                ("--timeout", "nan", "services"): "expected a number of seconds",
                ("--timeout", "inf", "services"): "expected a number of seconds",
                ("--redis", "nonsense", "services"): "--redis: 'nonsense' is not a URL",
                ("--redis", "redis://h:99999", "services"): "not a host with a port from 1",
                ("set", "a", "hex:x"): "hex:x is not hexadecimal",
                ("set", "a", "b", "--ttl", "0"): "--ttl",
            }
        )

    async def test_mistakes_of_publish_are_reported_before_connecting(self) -> None:
        await self.told(
            {
                ("publish", "t", '{"a": 1}'): "expected a JSON object with its type",
                ("publish", "t", "[" * 100_000): "nested too deeply",
                ("publish", "", "{}"): "topic",
                ("publish", "t", "--raw", "hex:x"): "hex:x is not hexadecimal",
                ("publish", "t", "--raw", "--module-message", "a"): "exclude each other",
                (
                    "publish",
                    "t",
                    "--source",
                    "a",
                    '{"@type": "UserEvent"}',
                ): "--source needs --module-message",
                ("publish", "t", "--module-message", '{"@type": "TeraEvent"}'): "a TeraEvent is",
            }
        )

    async def test_mistakes_of_streams_are_reported_before_connecting(self) -> None:
        await self.told(
            {
                ("tail", "--raw", "--json"): "excludes --json and --type",
                ("tail", "--type", "Nonsense"): "'--type'",
                ("tail", "-n", "0"): "'-n'",
                ("get", ""): "a variable's name must be a non-empty string",
                ("set", "", "b"): "a variable's name must",
                ("delete", "a", ""): "a variable's name must",
                ("watch", ""): "a variable's name must",
                ("top", "--interval", "0"): "'--interval'",
                ("completion", "tcsh"): "'tcsh' is not one of",
            }
        )

    async def test_mistakes_of_calls_are_reported_before_connecting(self) -> None:
        await self.told(
            {
                ("call", "Ours", "x"): "expected service.KEY or module.NAME",
                ("call", "service.Ours", ""): "a procedure's name must be a string",
                ("call", "service.Ours", "x", str(2**64)): "argument 1 of x",
                ("call", "service.Ours", "x", "--timeout", "nan"): "'--timeout'",
                ("describe", "Ours"): "expected service.KEY or module.NAME",
                ("stub", "Ours"): "expected service.KEY or module.NAME",
                ("key", "issue", "user", "nobody"): "expected a UUID with hyphens, not 'nobody'",
                ("key", "issue", "user", UUID, "--ttl", "nan"): "'--ttl'",
                ("key", "issue", "user", UUID, "--name", "x" * 20_000): "name and topics have",
            }
        )

    async def test_figures_are_kept_when_some_calls_fail(self) -> None:
        procedures = Procedures()
        calls = count()

        @procedures.expose
        def sometimes() -> None:
            if next(calls) % 3 == 2:
                raise ProcedureError("not now")

        @procedures.expose
        def never() -> None:
            raise ProcedureError("not ever")

        bus = await self.bus()
        await bus.serve_service("Ours", procedures)
        result = await self.run_command("call", "service.Ours", "sometimes", "--repeat", "10")
        assert result.status == 1
        figures = json.loads(result.output)
        assert (figures["calls"], figures["failed"]) == (7, 3)
        assert figures["seconds"]["max"] > 0
        assert "opentera-bus: 3 of 10 calls failed; the last error: " in result.errors
        result = await self.run_command("call", "service.Ours", "never", "--repeat", "2")
        assert result.status == 1
        assert result.output == ""
        assert "opentera-bus: 2 of 2 calls failed; the last error: " in result.errors

    async def test_help_and_version(self) -> None:
        result = await self.run_command("--help")
        assert result.status == 0
        for command in (
            "completion",
            "config",
            "doctor",
            "tail",
            "top",
            "watch",
            "get",
            "set",
            "delete",
            "publish",
            "call",
            "key",
            "describe",
            "services",
            "stub",
            "online",
            "disconnect",
        ):
            assert f"  {command} " in result.output
        assert (await self.run_command("--version")).status == 0

    async def test_the_topic_of_a_websocket_can_be_published_to(self) -> None:
        topic = websocket_events("user", UUID)
        pubsub = self.subscribed(topic)
        await self.run_command("publish", topic, '[{"@type": "UserEvent"}, {"@type": "LogEvent"}]')
        assert len(TeraEvent.FromString(await message(pubsub)).events) == 2

    async def test_a_shell_completes_commands_and_options(self) -> None:
        shells = {"bash": "complete -o nosort", "zsh": "#compdef opentera-bus", "fish": "complete"}
        for shell, part in shells.items():
            result = await self.run_command("completion", shell)
            assert (result.status, result.errors) == (0, "")
            assert part in result.output
            assert f"_OPENTERA_BUS_COMPLETE={shell}_complete" in result.output
        completing = {"_OPENTERA_BUS_COMPLETE": "bash_complete"}
        for line, number, expected in (
            ("opentera-bus ta", 1, "plain,tail\n"),
            ("opentera-bus key issue par", 3, "plain,participant\n"),
            ("opentera-bus tail --ty", 2, "plain,--type\n"),
        ):
            words = {"COMP_WORDS": line, "COMP_CWORD": str(number)}
            result = await self.run_command(**completing, **words)
            assert result == (0, expected, "")


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands with their full names."""
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = list(commands(load_commands(), ""))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name.strip() for name, _ in COMMANDS])
def test_the_examples_of_every_help_are_command_lines(name: str, command: click.Command) -> None:
    _, *blocks = (command.help or "").split("\b\n")
    assert blocks, "no example"
    for example in blocks[-1].replace("\\\n", "").strip().splitlines():
        program, *words = shlex.split(re.split(r" [|>] ", example)[0])
        assert program == "opentera-bus"
        own = name.split()
        at = next(i for i in range(len(words)) if words[i : i + len(own)] == own)
        context = command.make_context(name, words[at + len(own) :])
        assert all(
            context.params[parameter.name or ""] is not None
            for parameter in command.params
            if parameter.required
        )
