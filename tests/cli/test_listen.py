"""``opentera-bus listen``: output, keys and exit."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, SessionKeys
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import LogEvent, UserEvent
from tests.client.scripted import ScriptedGateway
from tests.helpers.commands import COMMAND, CommandTestCase
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import UUID, folder_of, free_port, message

TOPIC = f"websocket.user.{UUID}.events"
REPORTS = "module.TeraServer.UserManagerModule.messages"
NOWHERE = "redis://127.0.0.1:1/0"


class ListenTests(CommandTestCase):
    async def gateway(self) -> Bus:
        """Start a gateway at ``self.url``; return its bus."""
        bus = await self.bus(self.gateway_url)
        self.gate = Gateway(bus)
        self.gate.startService()
        self.addCleanup(self.gate.stopService)
        self.url = self.listen(self.gate.factory)
        return bus

    def listen(self, factory: Any) -> str:
        """Return the URL of a user's websocket at a server."""
        listen: Any = reactor.listenTCP
        self.port = listen(0, factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        return f"ws://127.0.0.1:{self.port.getHost().port}/wss/user"

    def scripted(self) -> ScriptedGateway:
        """Start a scripted gateway at ``self.url`` that accepts ``user.SECRET``."""
        server = ScriptedGateway()
        server.keys.add("user.SECRET")
        self.url = self.listen(server)
        return server

    async def test_a_pipe_gets_one_json_object_per_line(self) -> None:
        bus = await self.gateway()
        reports = self.subscribed(REPORTS)
        command = self.start_command("listen", self.url, "--uuid", UUID, "-n", "2")
        await message(reports)
        event = UserEvent(user_fullname="Zoé", type=UserEvent.USER_CONNECTED)
        await bus.publish_event(TOPIC, event, event)
        assert await command.ended() == 0
        first, second = map(json.loads, command.output.splitlines())
        assert first == second
        assert (first["topic"], first["name"]) == (TOPIC, "UserEvent")
        assert first["data"]["userFullname"] == "Zoé"
        assert first["time"].startswith("20")
        assert command.errors == ""

    async def test_only_events_of_a_type(self) -> None:
        bus = await self.gateway()
        reports = self.subscribed(REPORTS)
        command = self.start_command(
            "listen", self.url, "--uuid", UUID, "--name", "Zoé", "--type", "userevent", "-n", "1"
        )
        assert "Zoé".encode() in await message(reports)
        await bus.publish_event(TOPIC, LogEvent(message="no"), UserEvent(user_fullname="yes"))
        assert await command.ended() == 0
        assert json.loads(command.output)["data"]["userFullname"] == "yes"

    async def test_terminal_output_is_free_of_control_characters(self) -> None:
        server = self.scripted()
        command = self.start_command("listen", self.url, terminal=True, SESSION_KEY="user.SECRET")
        await server.opened.wait(1)
        server.publish("Zoé\x1b[2J\u202e")
        await command.says("UserEvent")
        await command.says("Zoé")
        assert "\x1b[2J" not in command.output
        assert "\u202e" not in command.output
        command.interrupt()
        assert await command.ended() == 130
        await server.closed.wait(1)
        assert command.errors == ""

    async def test_a_break_is_reported_and_recovered(self) -> None:
        server = self.scripted()
        command = self.start_command(
            "listen", self.url, "-n", "2", url=NOWHERE, SESSION_KEY="user.SECRET"
        )
        await server.opened.wait(1)
        server.publish("1")
        await command.says("UserEvent")
        server.cut()
        server.publish("2")
        assert await command.ended() == 0
        names = [json.loads(line)["data"]["userFullname"] for line in command.output.splitlines()]
        assert names == ["1", "2"]
        assert "the websocket broke" in command.errors
        assert "gap" not in command.errors

    async def test_a_gap_is_reported(self) -> None:
        server = self.scripted()
        command = self.start_command("listen", self.url, SESSION_KEY="user.SECRET")
        await server.opened.wait(1)
        server.loses = True
        server.publish("1")
        await command.says("UserEvent")
        server.cut()
        await command.says("gap: the websocket is back", "errors")

    async def test_a_second_login_needs_a_new_key(self) -> None:
        file = folder_of(self) / "key"
        file.write_text("user.SECRET\n")
        file.chmod(0o600)
        for options in (("--key-file", str(file)), ("--no-recovery",)):
            server = self.scripted()
            server.recovery = "--no-recovery" in options
            key = "" if "--key-file" in options else "user.SECRET"
            command = self.start_command("listen", self.url, *options, url=NOWHERE, SESSION_KEY=key)
            await server.opened.wait(1)
            server.publish("1")
            await command.says("UserEvent")
            server.cut()
            assert await command.ended() == 1
            assert "needs a new session key" in command.errors
            assert "SECRET" not in command.errors

    async def test_a_key_may_come_on_standard_input(self) -> None:
        server = self.scripted()
        command = subprocess.Popen(  # noqa: ASYNC220
            [*COMMAND, "listen", self.url, "--key-file", "-", "-n", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**ENVIRONMENT, "REDIS_URL": NOWHERE},
        )
        self.addCleanup(command.kill)
        assert command.stdin is not None
        command.stdin.write(b"user.SECRET\n")
        command.stdin.flush()
        await server.opened.wait(1)
        server.publish("1")
        output, _ = await deferToThread(command.communicate)
        assert json.loads(output)["name"] == "UserEvent"

    async def test_a_disconnect_command_ends_it(self) -> None:
        bus = await self.gateway()
        reports = self.subscribed(REPORTS)
        command = self.start_command("listen", self.url, "--uuid", UUID)
        await message(reports)
        await bus.presence.disconnect("user", UUID)
        assert await command.ended() == 1
        assert "4000" in command.errors

    async def test_a_connect_timeout_names_its_cause(self) -> None:
        key = {"SESSION_KEY": "user.SECRET"}
        away = f"ws://127.0.0.1:{free_port()}/wss/user"
        found = await self.run_command("--timeout", "0.5", "listen", away, url=NOWHERE, **key)
        assert found.status == 1
        assert "not connected to" in found.errors
        assert "refused" in found.errors
        await self.gateway()
        found = await self.run_command("listen", self.url, url=NOWHERE, **key)
        assert (found.status, found.output) == (1, "")
        assert "session key" in found.errors
        assert "SECRET" not in found.errors

    async def test_each_refusal_is_reported_at_once_and_once(self) -> None:
        server = self.scripted()
        server.status = 503
        command = self.start_command(
            "--timeout", "600", "listen", self.url, "-n", "1", SESSION_KEY="user.SECRET"
        )
        await command.says("503", "errors")
        await server.requests.wait(3)
        server.status = 502
        await command.says("502", "errors")
        server.status = 0
        await server.opened.wait(1)
        server.publish("1")
        assert await command.ended() == 0
        assert command.errors.splitlines() == [
            "opentera-bus: the gateway refused the websocket: 503 Service Unavailable",
            "opentera-bus: the gateway refused the websocket: 502 Bad Gateway",
        ]

    async def test_a_wrong_command_line_is_explained(self) -> None:
        url = "ws://127.0.0.1:1/wss/user"
        for arguments, told in (
            ((), "Missing argument 'URL'"),
            ((url,), "no session key"),
            (("ftp://h/", "--uuid", UUID), "not a URL"),
            ((f"{url}?id=SECRET", "--uuid", UUID), "remove it"),
            (("ws://h/elsewhere", "--uuid", UUID), "--kind"),
            ((url, "--uuid", "a\nb"), "UUID"),
            ((url, "--uuid", UUID, "--key-file", "x"), "exclude each other"),
            ((url, "--uuid", UUID, "--ca", "/nowhere"), "ca is for"),
        ):
            found = await self.run_command("listen", *arguments)
            assert found.status == 2, arguments
            assert told in found.errors, found.errors
            assert "SECRET" not in found.errors

    async def test_the_command_line_names_no_key(self) -> None:
        bus = await self.gateway()
        key = await SessionKeys(bus).issue("user", UUID)
        reports = self.subscribed(REPORTS)
        command = self.start_command("listen", self.url, SESSION_KEY=key)
        await message(reports)
        assert key not in " ".join(command.output.splitlines() + command.errors.splitlines())
