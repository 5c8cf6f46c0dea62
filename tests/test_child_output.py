"""Lines of a child process: the same however its output is cut into pieces, and none too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted._internal.child_output import LONGEST_LINE, split_lines


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


def test_a_line_is_without_its_end_and_what_has_none_waits() -> None:
    assert split_lines(b"one\n\ntwo\nthr") == ([b"one", b"", b"two"], b"thr")


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    assert lines_of([b"x" * LONGEST_LINE]) == ([], b"x" * LONGEST_LINE)
    assert lines_of([b"x" * LONGEST_LINE, b"x", b"y\n"]) == ([b"x" * (LONGEST_LINE + 1), b"y"], b"")
