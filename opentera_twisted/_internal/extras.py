"""Says which extra to install when a module of one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXTRA_OF: Final[Mapping[str, str]] = {
    "click": "cli",
    "crochet": "blocking",
    "klein": "admin",
    "prometheus_client": "admin",
    "redis": "opentera",
    "rich": "cli",
}
"""The extra that brings a module; the embedded server's is a file, not a module."""


class MissingExtra(ModuleNotFoundError):
    """A part of this package was imported that needs an extra; the message says which."""


def explained(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """What to raise instead of an error, which is the error itself when no extra would help."""
    extra = EXTRA_OF.get(error.name or "")
    if extra is None:
        return error
    return MissingExtra(f"{error.name} is missing: pip install 'opentera-twisted[{extra}]'")
