"""The two environments of ``make test-opentera``, and programs that run in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, Literal

from tests.helpers.processes import Process
from tests.helpers.support import ROOT, RedisTestCase, folder_of

Environment = Literal["theirs", "moved"]
"""The published OpenTera, or the one with names replaced by this package."""

_FOLDER: Final = Path(os.environ.get("OPENTERA_ENVIRONMENTS", ROOT / "build" / "opentera"))

PROGRAMS: Final = Path(__file__).parent / "programs"


def program(
    environment: Environment, name: str, *arguments: object, blocking: bool = False
) -> Process:
    """Start a program in an environment."""
    python = _FOLDER / environment / "bin" / "python"
    assert python.exists(), "make test-opentera makes the environments and runs these tests"
    mover = [] if environment == "theirs" else [str(PROGRAMS / "moved.py"), str(int(blocking))]
    return Process(
        str(python),
        *(*mover, str(PROGRAMS / name), *map(str, arguments)),
        environment={"PYTHONPATH": "" if environment == "theirs" else str(ROOT)},
    )


class ProgramTestCase(RedisTestCase):
    """Runs each of its tests in one environment."""

    environment: Environment = "theirs"

    def start(self, name: str, *arguments: object, blocking: bool = False) -> Process:
        """Start a program on the Redis of the tests; it is killed with the test."""
        started = program(self.environment, name, self.server.port, *arguments, blocking=blocking)
        self.addCleanup(started.kill)
        return started

    async def results(self, name: str, *arguments: object) -> Any:
        """Return the JSON that a program writes to the file of its second argument."""
        file = folder_of(self) / "results.json"
        started = self.start(name, file, *arguments)
        assert await started.ended() == 0, started.output
        return json.loads(file.read_text())
