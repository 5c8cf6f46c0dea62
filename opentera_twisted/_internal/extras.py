"""The extra to install when one of its modules is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXTRA_OF: Final[Mapping[str, str]] = {
    "click": "cli",
    "crochet": "blocking",
    "klein": "admin",
    "opentelemetry": "tracing",
    "opentelemetry.exporter": "tracing",
    "opentelemetry.sdk": "tracing",
    "prometheus_client": "admin",
    "redis": "opentera",
    "rich": "cli",
}
"""Extra that contains a module; that of the embedded server is a file, not a module."""


class MissingExtra(ModuleNotFoundError):
    """An imported part of this package needs an extra; the message names it."""


def explained(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return an error that names the extra to install, or the same error if none would help."""
    extra = EXTRA_OF.get(error.name or "")
    if extra is None:
        return error
    return MissingExtra(f"{error.name} is missing: pip install 'opentera-twisted[{extra}]'")
