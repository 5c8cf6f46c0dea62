"""Programs for tests of ``contrib/`` that pip does not install."""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest

REQUIRED = "OPENTERA_BUS_REQUIRE_TOOLS"
"""Environment variable that makes a missing program a failure."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # Debian's folders of system programs


def tool(command: str, package: str) -> str:
    """Return the path of a program."""
    found = shutil.which(command, path=_PATH)
    if found is None:
        missing = f"left out: this test needs {command}; on Debian: apt-get install {package}"
        assert not os.environ.get(REQUIRED), missing
        raise SkipTest(missing)
    return found
