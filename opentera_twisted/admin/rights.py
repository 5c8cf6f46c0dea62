"""Additional Redis rights that the console's panels need."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from opentera_twisted.admin.guard import Refused

SERVICES: Final = ("+pubsub|channels", "+pubsub|numpat")
"""Rules for the list of services."""

TRAFFIC: Final = ("+psubscribe", "+punsubscribe")
"""Rules for watching topics, in addition to one rule for each pattern."""


def lacking(what: str, rules: Iterable[str]) -> Refused:
    """Make the refusal of a panel for which the gateway's user lacks rights.

    Args:
        what: name of the missing content.
        rules: all ACL rules that the panel needs.
    """
    return Refused(
        HTTPStatus.FORBIDDEN,
        f"The gateway's Redis user may not see {what}. Grant the rights with: "
        f"ACL SETUSER USER {' '.join(rules)}",
    )


def watching(patterns: str) -> list[str]:
    """Return the rules needed to watch some patterns."""
    return [*TRAFFIC, *(f"&{pattern}" for pattern in patterns.split())]
