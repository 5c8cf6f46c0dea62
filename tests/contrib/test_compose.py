"""``contrib/compose.yml`` and the files that it mounts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from opentera_twisted.program.options import Options
from tests.helpers.support import GUARD, ROOT
from tests.helpers.tools import tool

CONTRIB = ROOT / "contrib"
TEXT = (CONTRIB / "compose.yml").read_text()


def test_the_gateways_options_are_valid(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x" * 32)
    given = re.findall(r"^ +- (--(?!config|storage)\S+)$", TEXT, re.MULTILINE)
    options = Options()
    options.parseOptions(
        [option.replace("/run/secrets/admin-token", str(token)) for option in given]
    )
    settings = options.settings()
    assert settings.admin is not None
    assert settings.admin.hosts == ("gateway",)
    assert settings.audit_log == "stderr"


def test_every_mounted_file_exists() -> None:
    mounted = re.findall(r"^ +- \./(\S+?):/", TEXT, re.MULTILINE)
    assert len(mounted) == 5
    assert all((CONTRIB / name).is_file() for name in mounted)


def test_promtool_accepts_the_configuration() -> None:
    command = (tool("promtool", "prometheus"), "check", "config", "--syntax-only")
    done = subprocess.run(
        (*command, str(CONTRIB / "prometheus.yml")),
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD,
    )
    assert done.returncode == 0, done.stdout + done.stderr
