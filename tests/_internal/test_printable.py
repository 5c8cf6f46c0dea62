"""Text of other programs: free of control characters, and in the terminal's encoding."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from twisted.logger import LogEvent, LogLevel

from opentera_twisted import ProcedureError, Procedures
from opentera_twisted._internal.printable import escape_unencodable, printable
from opentera_twisted.program.log.line_format import classic_line
from tests.helpers.commands import CommandTestCase
from tests.helpers.processes import twistd
from tests.helpers.strategies import any_text
from tests.helpers.support import RedisTestCase, folder_of

HOSTILE = "Zoé 😀\x1b]0;title\x07\u202e"


@given(any_text())
def test_printable_text_keeps_what_prints_and_escapes_the_rest(text: str) -> None:
    shown = printable(text, keep="")
    assert shown.isprintable()
    if "\\" not in text and '"' not in text:
        assert json.loads(f'"{shown}"') == text


def test_line_ends_and_tabs_are_escaped_only_in_single_lines() -> None:
    assert printable("a\n\tb\r\x1b[2J") == "a\n\tb\\r\\u001b[2J"
    assert printable("a\n\tb", keep="") == "a\\n\\tb"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", r"Zo\u00e9 \ud83d\ude00"), ("latin-1", r"Zoé \ud83d\ude00"), ("utf-8", "Zoé 😀")],
)
def test_a_stream_escapes_what_its_encoding_lacks(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    escape_unencodable(stream)
    print("Zoé 😀", file=stream, end="", flush=True)
    assert raw.getvalue().decode(encoding) == shown
    escape_unencodable(io.StringIO())
    escape_unencodable(None)


class TerminalTests(CommandTestCase):
    """Each way to print, on an ASCII terminal."""

    async def serve(self) -> None:
        procedures = Procedures(doc=HOSTILE)

        @procedures.expose
        def echo(x: str = HOSTILE) -> str:
            return x

        @procedures.expose
        def fail() -> None:
            raise ProcedureError(f"{HOSTILE}\nopentera-bus: all is well")

        bus = await self.bus()
        await bus.serve_service("Zoé", procedures)

    async def printed(self, *arguments: str) -> tuple[int, str, str]:
        command = self.start_command(*arguments, terminal=True, PYTHONIOENCODING="ascii")
        status = await command.ended()
        # Colours are ours.
        assert "\x1b]" not in command.output, arguments
        assert "\x1b" not in command.errors, arguments
        assert (command.output + command.errors).isascii(), arguments
        assert "Traceback" not in command.output + command.errors, command.errors
        return status, command.output, command.errors

    async def test_a_terminal_of_ascii_gets_escapes_on_every_output_path(self) -> None:
        await self.serve()
        self.redis.set("gruß", HOSTILE)
        self.redis.set("bytes", b"\xff\x1b]0;")
        escaped = r"Zo\u00e9 \ud83d\ude00\u001b]0;title"
        for arguments, text in (
            (("call", "service.Zoé", "echo"), escaped),
            (("services",), r"Zo\u00e9"),
            (("describe", "service.Zoé"), r"Zo\u00e9"),
            (("stub", "service.Zoé"), r"\ud83d\ude00"),
            (("get", "gruß"), escaped),
            (("get", "bytes"), "hex:ff1b5d303b"),
            (("watch", "gruß", "-n", "1"), escaped),
        ):
            status, output, _ = await self.printed(*arguments)
            assert status == 0, arguments
            assert text in output, arguments

    async def test_tail_survives_a_message_that_ascii_cannot_encode(self) -> None:
        bus = await self.bus()
        tail = self.start_command("tail", "*", "-n", "1", terminal=True, PYTHONIOENCODING="ascii")
        sent = 0
        while not sent:
            sent = await bus.publish("topic\nZoé", "Zoé 😀")
        assert await tail.ended() == 0
        assert r"topic\nZo\u00e9" in tail.output
        assert r"\ud83d\ude00" in tail.output

    async def test_a_remote_error_controls_no_terminal_and_fakes_no_line(self) -> None:
        await self.serve()
        status, _, errors = await self.printed("call", "service.Zoé", "fail")
        assert status == 1
        assert r"\u001b]0;title\u0007\u202e" in errors
        assert "\nopentera-bus:" not in errors


class LogTests(RedisTestCase):
    def test_a_line_of_the_log_is_one_that_prints(self) -> None:
        event: LogEvent = {
            "log_level": LogLevel.info,
            "log_namespace": "n",
            "log_format": "{name}",
            "log_time": 0.0,
            "name": "x\x1b[2J\ny",
        }
        line = classic_line(event)
        assert line is not None
        assert line.endswith("x\\u001b[2J\n\ty\n")

    async def test_the_program_logs_where_standard_output_is_ascii(self) -> None:
        program = twistd(
            *("--redis", self.gateway_url, "--admin", "none"),
            *("--websocket", f"unix:{folder_of(self)}/Zoé"),
            environment={"PYTHONIOENCODING": "ascii"},
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        assert r"Zo\u00e9" in program.output
