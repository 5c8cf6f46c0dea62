"""Programs that tests of ``contrib/`` need and pip does not install."""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest

REQUIRED = "OPENTERA_BUS_REQUIRE_TOOLS"
"""Environment variable: set, a missing program is a failure."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian puts what root starts


def tool(command: str, package: str) -> str:
    """The path of a program.

    Args:
        command: its name.
        package: of Debian, which has it.
    """
    found = shutil.which(command, path=_PATH)
    if found is None:
        missing = f"left out: this test needs {command}; on Debian: apt-get install {package}"
        assert not os.environ.get(REQUIRED), missing
        raise SkipTest(missing)
    return found
