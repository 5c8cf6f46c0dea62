"""Parsing of seconds on the command line."""

from __future__ import annotations

from typing import Any

import click

from opentera_twisted._internal.timeouts import LONGEST


class Seconds(click.FloatRange):
    """A finite number of seconds, for an option."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the number."""
        seconds: float = super().convert(value, param, ctx)
        if not seconds < LONGEST:
            self.fail(f"expected a number of seconds below {LONGEST:.0f}, not {value}.", param, ctx)
        return seconds
