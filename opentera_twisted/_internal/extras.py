"""Names of the extras, or of the dependency, to install when a module is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXTRAS_OF: Final[Mapping[str, str]] = {
    "click": "cli",
    "crochet": "asyncio,blocking",
    "klein": "admin",
    "opentelemetry": "tracing",
    "opentelemetry.exporter": "tracing",
    "opentelemetry.sdk": "tracing",
    "prometheus_client": "admin",
    "redis": "opentera",
    "rich": "cli",
}
"""Extras that contain a module, as pip lists them; that of the embedded server is a file."""


REQUIRED: Final = "hiredis"
"""Dependency that an installation without dependencies lacks first."""


class MissingExtra(ModuleNotFoundError):
    """An imported part of this package needs an extra or a dependency; the message names it."""


def explained(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return an error that names what to install, or the same error if nothing would help."""
    if error.name == REQUIRED:
        return MissingExtra(
            f"{REQUIRED} is missing, which opentera-twisted needs: pip install {REQUIRED}"
        )
    extras = EXTRAS_OF.get(error.name or "")
    if extras is None:
        return error
    return MissingExtra(f"{error.name} is missing: pip install 'opentera-twisted[{extras}]'")
