"""The table of results for the docs."""

from __future__ import annotations

from .areas import AREAS
from .case import Case

RESULTS: dict[tuple[str, str], bool] = {}
"""Results of the rules in this run, by rule and by whole or cut input."""

SILENCE: dict[str, bool] = {}
"""Results of the silences in this run."""


def table() -> str:
    """Return all areas as Markdown."""
    rows = {area: [_row(case) for case in cases] for area, cases in AREAS.items()}
    rows["Silence"] = [
        f"| {words}, and then silence: dropped when the time for a handshake is over "
        f"| 10 | {_word(SILENCE.get(words))} |"
        for words in SILENCE
    ]
    every = [row for area in rows.values() for row in area]
    kept = sum(row.endswith("| holds |") for row in every)
    deviating = sum("| differs: " in row for row in every)
    broken = len(every) - kept - deviating
    lines = [f"{len(every)} rules: {kept} hold, {deviating} differ, {broken} are broken."]
    for area, of_area in rows.items():
        lines += [
            "",
            f"## {area}",
            "",
            "| rule | section | result |",
            "| --- | --- | --- |",
            *of_area,
        ]
    return "\n".join(lines)


def _row(case: Case) -> str:
    whole, pieces = (RESULTS.get((case.rule, way)) for way in ("whole", "in pieces"))
    if case.deviation and whole and pieces:
        result = f"differs: {case.deviation}"
    elif whole == pieces:
        result = _word(whole)
    else:
        result = f"whole: {_word(whole)}, in pieces: {_word(pieces)}"
    return f"| {case.rule.replace('|', '&#124;')} | {case.section} | {result} |"


def _word(holds: bool | None) -> str:
    return "not tried" if holds is None else "holds" if holds else "**broken**"
