"""Runs the endurance test: ``python -m tests.endurance [--seconds N] [--seed N] [--picture F]``."""

from __future__ import annotations

import argparse
import gc
import os
import re
import secrets
import sys
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final, Self

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, react

from tests.helpers.processes import Process, twistd
from tests.helpers.support import Server, free_port

from . import service
from .footprint import BEFORE, Measured, report
from .load import Load
from .picture import draw

SAMPLES: Final = 360
PROGRESS: Final = 60.0
"""Seconds between lines of progress."""


def say(text: str) -> None:
    """Print a line, at once."""
    print(text, flush=True)  # noqa: T201


class System:
    """A Redis, a gateway and a service, as processes; a context manager.

    Attributes:
        server: the Redis.
        port: port of the gateway's websockets.
        admin: port of the gateway's metrics.
        measured: the gateway, the service, and this process with all clients.
    """

    def __init__(self) -> None:
        self.measured = [Measured(name) for name in ("gateway", "service", "clients")]
        gateway, served, clients = self.measured
        self.server = Server()
        self.port, self.admin = free_port(), free_port()
        self._programs = [
            twistd(
                *("--redis", self.server.url, "--user-manager"),
                *("--websocket", f"tcp:{self.port}:interface=127.0.0.1"),
                *("--admin", f"tcp:{self.admin}:interface=127.0.0.1"),
                fork=False,
                before=(BEFORE, gateway.path),
            ),
            Process(sys.executable, "-m", service.__name__, self.server.url, served.path),
        ]
        for program, measured in zip(self._programs, self.measured, strict=False):
            measured.pid = program.pid
            program.wait_for("is ready")
        clients.pid = os.getpid()
        report(clients.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for program in self._programs:
            program.kill()
        self.server.stop()

    def sample(self) -> None:
        """Measure each process, this one without its garbage."""
        gc.collect()
        for process in self.measured:
            process.sample()

    def errors(self) -> list[str]:
        """Return each traceback that a program has written, and the programs that ended."""
        found = []
        for program, process in zip(self._programs, self.measured, strict=False):
            if program.has_ended:
                found.append(f"the {process.name} ended: {program.output[-2000:]}")
            for match in re.finditer("Traceback|Unhandled", program.output):
                start = max(0, match.start() - 300)
                found.append(f"the {process.name} wrote: {program.output[start : start + 2000]}")
        return found


async def endure(system: System, seconds: float, random: Random, every: float) -> Load:
    """Run the load for that long; sample the processes meanwhile."""
    load = Load(system.server, system.port, system.admin, random)
    await load.start()
    sampling, progress = LoopingCall(system.sample), LoopingCall(_tell, system, load, monotonic())
    loops = [sampling.start(every), progress.start(PROGRESS, now=False)]
    try:
        await load.run(seconds)
    finally:
        for loop in (sampling, progress):
            if loop.running:
                loop.stop()
    await gatherResults(loops)
    await load.finish()
    return load


def _tell(system: System, load: Load, began: float) -> None:
    now = "; ".join(
        f"{process.name} {last.memory:.0f} MB, {last.objects:,} objects, {last.files} files"
        for process in system.measured
        for last in process.samples[-1:]
    )
    say(f"{(monotonic() - began) / 60:.0f} min: {load.done.total():,} actions; {now}")


def main() -> None:
    """Run, print the result, and return status 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="make endurance", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="length of the run")
    parser.add_argument("--seed", type=int, default=None, help="of all choices; random by default")
    parser.add_argument("--picture", type=Path, default=None, help="SVG file to write")
    chosen = parser.parse_args()
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    every = max(1.0, chosen.seconds / SAMPLES)
    say(f"seed {seed}, {chosen.seconds:g} seconds")
    with System() as system:

        async def run(_: Any) -> None:
            began = monotonic()
            load = await endure(system, chosen.seconds, Random(seed), every)
            _sum_up(load)
            if chosen.picture is not None:
                restarts = [at - began for at, what in load.disorder.breaks if "restart" in what]
                draw(chosen.picture, system.measured, every, restarts)
            faults = load.faults + system.errors()
            faults += [growth for process in system.measured for growth in process.growths()]
            if faults:
                sys.exit("\n".join(faults[:50]))
            say("nothing was lost without a gap, doubled or wrong; all processes stayed level")

        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


def _sum_up(load: Load) -> None:
    breaks: dict[str, int] = {}
    for _, what in load.disorder.breaks:
        breaks[what] = breaks.get(what, 0) + 1
    say(f"actions: {dict(load.done)}")
    say(f"breaks: {breaks}")
    say(f"failed during breaks: {dict(load.failed)}")
    say(f"{load.logins} session keys; {load.gaps} gaps, in which {load.missed} events were lost")


if __name__ == "__main__":
    main()
