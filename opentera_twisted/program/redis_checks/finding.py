"""A check's verdict, reason and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from attrs import frozen

Verdict = Literal["ok", "unknown", "warning", "wrong"]
"""``unknown``: Redis refused the query, mostly for lack of a right."""

_BY_WEIGHT: Final[tuple[Verdict, ...]] = ("ok", "unknown", "warning", "wrong")


@frozen
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check.
        verdict: result.
        reason: description of the result, for people.
        remedy: action that repairs it; empty if none is needed.
    """

    check: str
    verdict: Verdict
    reason: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict."""
    return max((finding.verdict for finding in findings), key=_BY_WEIGHT.index, default="ok")
