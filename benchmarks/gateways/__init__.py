"""Our websocket gateway in several forms, and one that does nothing."""

from __future__ import annotations

from benchmarks.gateways.null import null
from benchmarks.gateways.ours import ours, ours_in_a_site, with_recovery, with_two_workers
from benchmarks.gateways.side import Audience, Side, Start

__all__ = [
    "Audience",
    "Side",
    "Start",
    "null",
    "ours",
    "ours_in_a_site",
    "with_recovery",
    "with_two_workers",
]
