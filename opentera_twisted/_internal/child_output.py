"""What a child process writes, which comes in pieces, taken apart into lines."""

from __future__ import annotations

from typing import Final

LONGEST_LINE: Final = 16_384
"""Bytes; a longer line is taken to end there, so that what is kept of it does not grow."""


def split_lines(output: bytes) -> tuple[list[bytes], bytes]:
    """The lines that are complete, without their ends, and what is to stand before the next piece.

    Args:
        output: what was left of the pieces before this one, and this one.
    """
    *lines, rest = output.split(b"\n")
    if len(rest) > LONGEST_LINE:
        return [*lines, rest], b""
    return lines, rest
