"""What the console's panels may do on Redis only when the gateway's user is given more rights."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from opentera_twisted.admin.guard import Refused

SERVICES: Final = ("+pubsub|channels", "+pubsub|numpat")
"""Rules with which it is seen who listens."""

TRAFFIC: Final = ("+psubscribe", "+punsubscribe")
"""Rules with which topics are watched, beside one for each pattern, word for word."""


def lacking(what: str, rules: Iterable[str]) -> Refused:
    """What a panel says when Redis does not let the gateway's user do what it needs.

    Args:
        what: cannot be shown.
        rules: of Redis's ACL that the user needs, all of them.
    """
    return Refused(
        HTTPStatus.FORBIDDEN,
        f"Redis does not let the gateway's user see {what}. ACL SETUSER USER {' '.join(rules)} "
        "gives it what that needs.",
    )


def watching(patterns: str) -> list[str]:
    """The rules that watching some patterns needs."""
    return [*TRAFFIC, *(f"&{pattern}" for pattern in patterns.split())]
