"""Lines of a child process: independent of how its output is cut, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from opentera_twisted._internal.child_process import LONGEST_LINE, exit_text, split_lines


def lines_of(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    lines: list[bytes] = []
    rest = b""
    for piece in pieces:
        more, rest = split_lines(rest + piece)
        lines += more
    return lines, rest


@given(st.lists(st.text("ab\n").map(str.encode)))
def test_pieces_may_be_cut_anywhere(pieces: list[bytes]) -> None:
    assert lines_of(pieces) == lines_of([b"".join(pieces)])


def test_line_ends_are_stripped_and_partial_lines_wait() -> None:
    assert split_lines(b"one\n\ntwo\nthr") == ([b"one", b"", b"two"], b"thr")


def test_a_line_without_end_is_bounded() -> None:
    assert lines_of([b"x" * LONGEST_LINE]) == ([], b"x" * LONGEST_LINE)
    assert lines_of([b"x" * LONGEST_LINE, b"x", b"y\n"]) == ([b"x" * (LONGEST_LINE + 1), b"y"], b"")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ProcessDone(0), "exit status 0"),
        (ProcessTerminated(exitCode=3), "exit status 3"),
        (ProcessTerminated(signal=9), "signal SIGKILL"),
        (ProcessTerminated(signal=45), "signal 45"),
    ],
)
def test_the_end_of_a_process_has_a_text(reason: Exception, text: str) -> None:
    assert exit_text(Failure(reason)) == text
