"""Options of the programs, all required."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any


def parse_options(**converters: Callable[[str], Any]) -> Namespace:
    """Parse the command line: ``parse_options(in_flight=int)`` reads ``--in-flight 64``."""
    parser = ArgumentParser()
    for name, convert in converters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=convert, required=True)
    return parser.parse_args()
