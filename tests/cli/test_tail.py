"""``opentera-bus tail`` and ``watch``: output and exit."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

from twisted.internet.threads import deferToThread

from opentera_twisted import Bus
from opentera_twisted.messages import LogEvent, UserEvent
from tests.helpers.commands import COMMAND, CommandTestCase, Running
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import GUARD, UUID, start_server, until

TOPIC = f"websocket.user.{UUID}.events"


class StreamTestCase(CommandTestCase):
    async def listening(self, *topics: str, patterns: int = 0) -> None:
        """Wait until a command has its subscriptions."""

        async def ask() -> bool:
            counts = [count for _, count in self.redis.pubsub_numsub(*topics)]
            return all(counts) and self.redis.pubsub_numpat() >= patterns

        await until(ask, bool)


class TailTests(StreamTestCase):
    async def lines(
        self, count: int, *arguments: str, topics: tuple[str, ...] = (), patterns: int = 0
    ) -> tuple[Running, Bus]:
        """Start a tail that ends after some lines, and a bus to publish with."""
        bus = await self.bus()
        command = self.start_command("tail", "-n", str(count), *arguments)
        await self.listening(*topics, patterns=patterns)
        return command, bus

    async def test_a_pipe_gets_one_json_object_per_line(self) -> None:
        command, bus = await self.lines(3, "websocket.*", "t", topics=("t",), patterns=1)
        await bus.publish_event(TOPIC, UserEvent(user_uuid=UUID, type=UserEvent.USER_CONNECTED))
        await bus.publish("unheard", "x")
        await bus.publish("t", '{"a": 1}')
        await bus.publish("t", b"\x00\xff")
        assert await command.ended() == 0
        first, second, third = map(json.loads, command.output.splitlines())
        assert (first["topic"], first["form"]) == (TOPIC, "TeraEvent")
        assert first["head"]["topic"] == TOPIC
        assert first["messages"][0]["userUuid"] == UUID
        assert first["messages"][0]["type"] == "USER_CONNECTED"
        assert first["time"]
        assert (second["form"], second["value"]) == ("json", {"a": 1})
        assert (third["form"], third["value"]) == ("bytes", "00ff")
        assert command.errors == ""

    async def test_only_messages_of_a_type(self) -> None:
        command, bus = await self.lines(
            2, "*", "--type", "userevent", "--type", "RPCMessage", patterns=1
        )
        await bus.publish_event("service.a.events", LogEvent(message="no"))
        await bus.publish_event(
            "service.a.events", LogEvent(message="no"), UserEvent(user_uuid="u")
        )
        bus.call_service("Deaf", "add", 1).addErrback(lambda _: None)
        assert await command.ended() == 0
        first, second = map(json.loads, command.output.splitlines())
        assert [message["@type"] for message in first["messages"]] == ["UserEvent"]
        assert (second["head"]["method"], second["value"]) == ("add", [1])

    async def test_raw_is_the_topic_and_hexadecimal(self) -> None:
        command, bus = await self.lines(1, "t", "--raw", topics=("t",))
        await bus.publish("t", b"\x00a\xff")
        assert await command.ended() == 0
        assert command.output == "t 0061ff\n"

    async def test_topics_of_recovery_are_not_printed(self) -> None:
        command, bus = await self.lines(1, "--raw", patterns=1)
        await bus.publish("opentera.recovery.reply.secret", "x")
        await bus.publish("last", "x")
        assert await command.ended() == 0
        assert command.output == "last 78\n"

    async def test_a_message_matching_several_patterns_is_printed_once(self) -> None:
        command, bus = await self.lines(2, "service.*", "service.a", "*.a", "service.*", patterns=2)
        await bus.publish("service.a", "1")
        await bus.publish("b.a", "2")
        assert await command.ended() == 0
        topics = [json.loads(line)["topic"] for line in command.output.splitlines()]
        assert topics == ["service.a", "b.a"]

    async def test_terminal_output_is_free_of_control_characters(self) -> None:
        bus = await self.bus()
        command = self.start_command("tail", terminal=True)
        await self.listening(patterns=1)
        await bus.publish_event("service.a.events", UserEvent(user_fullname="Zoé\x1b[2J\u202e"))
        await bus.publish("t\x1b[2J", "plain")
        await command.says("plain")
        assert "UserEvent" in command.output
        assert "Zoé" in command.output
        assert "\x1b[2J" not in command.output
        assert "\u202e" not in command.output
        command.interrupt()
        assert await command.ended() == 130
        assert command.errors == ""

    async def test_ctrl_c_ends_it_silently(self) -> None:
        command = self.start_command("tail")
        await self.listening(patterns=1)
        command.interrupt()
        assert await command.ended() == 130
        assert (command.output, command.errors) == ("", "")

    async def test_it_ends_when_the_pipe_is_closed(self) -> None:
        """It ends at once, even without messages, and without an error message of Python."""
        for is_published in (False, True):
            reader = subprocess.Popen(  # noqa: ASYNC220
                [*COMMAND, "tail", "--raw", "t"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**ENVIRONMENT, "REDIS_URL": self.server.url, "PYTHONUNBUFFERED": ""},
            )
            self.addCleanup(reader.wait)
            self.addCleanup(reader.kill)
            await self.listening("t")
            assert reader.stdout is not None
            if is_published:
                self.redis.publish("t", "a")
                await deferToThread(reader.stdout.readline)
            reader.stdout.close()
            assert await deferToThread(reader.wait, GUARD) == 0
            assert reader.stderr is not None
            with reader.stderr:
                assert reader.stderr.read() == b""

            async def subscribers() -> Any:
                return self.redis.pubsub_channels("t")

            await until(subscribers, lambda found: not found)

    async def test_a_failed_write_ends_it_silently(self) -> None:
        """Unlike a pipe, a socket reports its closing only on a write."""
        ours, theirs = socket.socketpair()
        with theirs:
            writer = subprocess.Popen(  # noqa: ASYNC220
                [*COMMAND, "tail", "--raw", "t"],
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                env={**ENVIRONMENT, "REDIS_URL": self.server.url, "PYTHONUNBUFFERED": ""},
            )
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        await self.listening("t")
        ours.close()
        self.redis.publish("t", "a")
        assert await deferToThread(writer.wait, GUARD) == 0
        assert writer.stderr is not None
        with writer.stderr:
            assert writer.stderr.read() == b""

    async def test_a_gap_is_reported_on_standard_error(self) -> None:
        server = start_server(self)
        command = self.start_command("tail", "t", "--raw", "-n", "1", url=server.url)
        with server.client() as client:

            async def subscribed() -> Any:
                return client.pubsub_numsub("t")[0][1]

            await until(subscribed, lambda count: count == 1)
        with server.client() as client:

            async def ready() -> Any:
                """Return connections on which a ready link has looked for overflows."""
                return [
                    entry
                    for entry in client.client_list()
                    if entry["cmd"] == "info" and entry["name"]
                ]

            await until(ready, bool)
        await deferToThread(server.stop)
        await command.says("lost the link to Redis", "errors")
        await deferToThread(server.start)
        await command.says("gap: the link to Redis is back", "errors")
        with server.client() as client:
            await until(subscribed_to(client), lambda count: count == 1)
            client.publish("t", "a")
        assert await command.ended() == 0
        assert command.output == "t 61\n"


def subscribed_to(client: Any) -> Any:
    async def ask() -> Any:
        return client.pubsub_numsub("t")[0][1]

    return ask


class WatchTests(StreamTestCase):
    async def test_the_present_value_and_each_change_are_printed(self) -> None:
        command = self.start_command("watch", "a", "-n", "4")
        await command.says("null")
        for value, told in (("Zoé", "Zo\\u00e9"), (b"\xff\x00", '"ff00"')):
            self.redis.set("a", value)
            await command.says(told)
        self.redis.delete("a")
        assert await command.ended() == 0
        lines = [json.loads(line) for line in command.output.splitlines()]
        assert [line.get("value", line.get("hex")) for line in lines] == [None, "Zoé", "ff00", None]
        assert {line["name"] for line in lines} == {"a"}
        assert command.errors == ""

    async def test_on_a_terminal_until_ctrl_c(self) -> None:
        self.redis.set("a", "x\x1b[2Jy")
        command = self.start_command("watch", "a", terminal=True)
        await command.says("x\\u001b[2Jy")
        self.redis.delete("a")
        await command.says("(none)")
        command.interrupt()
        assert await command.ended() == 130
        assert command.errors == ""

    async def test_a_gap_is_reported_without_repeating_the_value(self) -> None:
        server = start_server(self)
        command = self.start_command("watch", "a", "-n", "2", url=server.url)
        await command.says("null")
        await deferToThread(server.stop)
        await command.says("lost the link to Redis", "errors")
        await deferToThread(server.start)
        await command.says("gap: the link to Redis is back", "errors")
        with server.client() as client:
            client.set("a", "1")
        assert await command.ended() == 0
        values = [json.loads(line)["value"] for line in command.output.splitlines()]
        assert values == [None, "1"]
