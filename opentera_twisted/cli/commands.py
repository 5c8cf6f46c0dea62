"""All commands of ``opentera-bus``, one module for each subject."""

from opentera_twisted.cli import (
    calls,
    completion,
    configuration,
    listen,
    people,
    publishing,
    tail,
    top,
    variables,
)
from opentera_twisted.cli.doctor import command as doctor
from opentera_twisted.cli.group import cli

__all__ = [
    "calls",
    "cli",
    "completion",
    "configuration",
    "doctor",
    "listen",
    "people",
    "publishing",
    "tail",
    "top",
    "variables",
]
