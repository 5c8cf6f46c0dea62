"""Text of other programs, made safe to print: without terminal control, in any encoding."""

from __future__ import annotations

import codecs
import io
import json
from typing import Final, TextIO

ERRORS: Final = "opentera-bus-escape"
"""Name of the codec error handler that escapes characters as JSON does."""


def printable(foreign: str, keep: str = "\n\t") -> str:
    """Escape each unprintable character as JSON does.

    Args:
        foreign: text of another program, such as a remote error, a topic or a name.
        keep: characters that are kept; empty for text that must stay on its line.
    """
    if foreign.isprintable():
        return foreign
    return "".join(
        character if character.isprintable() or character in keep else _escape(character)
        for character in foreign
    )


def encodable(text: str) -> str:
    """Replace the characters that UTF-8 cannot encode by question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def escape_unencodable(stream: TextIO | None) -> None:
    """Escape characters that a stream's encoding lacks, as JSON does.

    Args:
        stream: such as ``sys.stdout``; a stream without an encoding is not changed.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=ERRORS)


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escape(error.object[error.start : error.end]), error.end


codecs.register_error(ERRORS, _handle)
