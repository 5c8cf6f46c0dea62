"""All cases, by area."""

from __future__ import annotations

from . import closing, controls, fragmentation, framing, handshake, hostile, limits, text
from .case import Case

AREAS: dict[str, list[Case]] = {
    "Handshake": handshake.CASES,
    "Hostile requests": hostile.CASES,
    "Frames": framing.CASES,
    "Fragments": fragmentation.CASES,
    "Pings, pongs and control frames": controls.CASES,
    "Text": text.CASES,
    "Closes": closing.CASES,
    "Sizes": limits.CASES,
}
