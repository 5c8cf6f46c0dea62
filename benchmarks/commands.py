"""Start of short programs: the command line, and the import of a bus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Final

import redis

from benchmarks.children import ROOT
from benchmarks.figures import Figure, Series, Target
from benchmarks.scenario import Setting

NAME: Final = "commands"

_VARIABLE: Final = "benchmark"
_LONGEST: Final = 60.0
"""Seconds that a program may take."""


def run(setting: Setting) -> list[Figure]:
    """Measure whole processes, beside one of an empty Python."""
    command = str(Path(sys.executable).with_name("opentera-bus"))
    programs = {
        "an empty Python": ([sys.executable, "-c", "pass"], None),
        "opentera-bus --version": ([command, "--version"], Target("below", 0.15)),
        "opentera-bus --help": ([command, "--help"], Target("below", 0.15)),
        "opentera-bus get": (
            [command, "--redis", setting.url, "get", _VARIABLE],
            Target("below", 0.5),
        ),
        "import of Bus": (
            [sys.executable, "-c", "from opentera_twisted import Bus"],
            Target("below", 0.35),
        ),
    }
    series = {what: Series("ours") for what in programs}
    with redis.Redis(port=setting.port, protocol=2) as client:
        client.set(_VARIABLE, "value")
        for _ in setting.each_round(NAME):
            for what, (arguments, _target) in programs.items():
                series[what].samples.append(_seconds(arguments))
        client.delete(_VARIABLE)
    return [
        Figure(NAME, f"{what}, as a whole process", "s", series[what], target=target)
        for what, (_arguments, target) in programs.items()
    ]


def _seconds(arguments: list[str]) -> float:
    began = perf_counter()
    subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True, timeout=_LONGEST)
    return perf_counter() - began
