"""Our websocket gateway in several forms, and two that do nothing."""

from __future__ import annotations

from benchmarks.gateways.null import null, null_behind_redis
from benchmarks.gateways.ours import (
    ours,
    ours_in_a_site,
    with_recovery,
    with_recovery_and_grace,
    with_workers,
)
from benchmarks.gateways.side import Audience, Side, Start

__all__ = [
    "Audience",
    "Side",
    "Start",
    "null",
    "null_behind_redis",
    "ours",
    "ours_in_a_site",
    "with_recovery",
    "with_recovery_and_grace",
    "with_workers",
]
