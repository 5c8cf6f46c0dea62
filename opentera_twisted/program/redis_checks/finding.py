"""One check's verdict, its reason, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from attrs import frozen

Verdict = Literal["ok", "unknown", "warning", "wrong"]
"""``unknown``: Redis does not tell, mostly for lack of a right."""

_BY_WEIGHT: Final[tuple[Verdict, ...]] = ("ok", "unknown", "warning", "wrong")


@frozen
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at.
        verdict: how it is.
        reason: what was found, for people to read.
        remedy: what to do about it; empty when there is nothing to do.
    """

    check: str
    verdict: Verdict
    reason: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict of all together."""
    return max((one.verdict for one in findings), key=_BY_WEIGHT.index, default="ok")
