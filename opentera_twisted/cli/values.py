"""Output of messages and of single values: JSON, bytes and text."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from opentera_twisted._internal.printable import printable

JSON = "opentera_twisted.json"
"""Name in the context's ``meta`` of the option ``--json``."""

LONGEST = 2000
"""Characters shown of one message on a terminal."""


def is_terminal() -> bool:
    """Return True if standard output is a terminal, unless ``--json`` is given."""
    return sys.stdout.isatty() and not is_json()


def is_json() -> bool:
    """Return True if ``--json`` is given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(JSON))


def say(message: str) -> None:
    """Print a message on standard error, its further lines indented."""
    text = f"opentera-bus: {printable(message)}".replace("\n", "\n    ")
    # click would write UTF-8 where the terminal has only ASCII.
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def print_json(value: Any) -> None:
    """Print a value as JSON on one line; a terminal gets non-ASCII characters unescaped.

    Raises:
        ValueError: the value contains a number that is not finite, which JSON cannot express.
    """
    print(printable(json.dumps(value, ensure_ascii=not is_terminal(), allow_nan=False)))  # noqa: T201


def print_bytes(value: bytes) -> None:
    """Print a value's bytes in a pipe, its text on a terminal, or a JSON string."""
    if is_json():
        print_json(text_or_hex(value))
    elif is_terminal():
        print(printable(text_or_hex(value)), flush=True)  # noqa: T201
    else:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()


def text_or_hex(value: bytes) -> str:
    """Return a value's text, or ``hex:DEADBEEF`` if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"hex:{value.hex()}"


def short_json(value: object) -> str:
    """Return JSON for a terminal, cut after `LONGEST` characters."""
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
