"""Text of other programs, made safe to print: it controls no terminal and fits any encoding."""

from __future__ import annotations

import codecs
import io
import json
from typing import Final, TextIO

ERRORS: Final = "opentera-bus-escape"
"""The name of the error handler of codecs that escapes as JSON does."""


def printable(foreign: str, keep: str = "\n\t") -> str:
    """Escape, as JSON does, each character that does not print.

    Args:
        foreign: such as a remote error, a topic, a name.
        keep: characters that stay all the same; none for text that must not leave its line.
    """
    if foreign.isprintable():
        return foreign
    return "".join(one if one.isprintable() or one in keep else _escape(one) for one in foreign)


def escape_unencodable(stream: TextIO | None) -> None:
    """Escape in the same way what a stream's encoding lacks.

    Args:
        stream: such as ``sys.stdout``; a stream without an encoding stays as it is.
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
