"""The default address of Redis."""

from __future__ import annotations

from typing import Final

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"
