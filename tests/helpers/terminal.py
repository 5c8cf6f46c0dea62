"""A terminal with commands of ``opentera-bus`` and their real output, as HTML."""

from __future__ import annotations

import io
import os
import pty
import shlex
import subprocess
import sys
import termios
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.helpers.support import GUARD

COLUMNS: Final = 64
ROWS: Final = 40

PROGRAM: Final = str(Path(sys.executable).with_name("opentera-bus"))

LIGHT: Final = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47), (207, 34, 46), (17, 99, 41), (125, 78, 0),
        (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129),
    ],
)  # fmt: skip
DARK: Final = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        (72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34),
        (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196),
    ],
)  # fmt: skip


def printed(url: str, command: str) -> str:
    """Run a command on a terminal; return its output with colours."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (ROWS, COLUMNS))
    environment = {**os.environ, "REDIS_URL": url, "TERM": "xterm-256color"}
    program = subprocess.Popen(
        [PROGRAM, *shlex.split(command)],
        stdin=secondary, stdout=secondary, stderr=secondary, env=environment,
    )  # fmt: skip
    os.close(secondary)
    output = bytearray()
    try:
        while piece := os.read(primary, 65536):
            output += piece
    except OSError:  # how Linux reports a closed peer
        pass
    finally:
        os.close(primary)
        program.wait(GUARD)
    return output.decode().replace("\r\n", "\n")


def html(session: list[tuple[str, str]], theme: TerminalTheme) -> str:
    """Return commands and their output as preformatted HTML in a theme's colours."""
    console = Console(
        record=True, file=io.StringIO(), force_terminal=True, color_system="standard", width=COLUMNS
    )
    for number, (command, output) in enumerate(session):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), (f"opentera-bus {command}", "bold")))
        console.print(Text.from_ansi(output.rstrip()), soft_wrap=True)
    return console.export_html(theme=theme, inline_styles=True, code_format="<pre>{code}</pre>")
