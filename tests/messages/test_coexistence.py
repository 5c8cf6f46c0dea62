"""Our messages beside another program's generated modules, in both orders.

``make protobufs`` runs this file and other tests of messages under each of `RUNTIMES`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser

import google.protobuf
import pytest

from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import ROOT
from tools.protobuf_versions import RUNTIMES


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("order", ["ours-first", "foreign-first"])
def test_foreign_modules_of_the_same_files_work_beside_ours(
    order: str, implementation: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.foreign", order],
        cwd=ROOT,
        env={**ENVIRONMENT, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = f"both work: {google.protobuf.__version__} {implementation}"
    assert done.stdout.strip() == expected, done.stderr


def test_every_supported_protobuf_runtime_is_tested() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    requirement = re.search(
        r"protobuf >= (\S+), < (\d+)$", setup["options"]["install_requires"], re.MULTILINE
    )
    assert requirement is not None
    lowest, end = requirement[1], int(requirement[2])
    assert RUNTIMES[0] == f"=={lowest}.0"
    majors = range(int(lowest.split(".")[0]), end)
    assert list(RUNTIMES[1:]) == [f"<{major + 1}" for major in majors]
    version = google.protobuf.__version__
    assert int(version.split(".")[0]) < end
