"""``contrib/Dockerfile``: checked by hadolint, and its commands run in a plain environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from unittest import SkipTest

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.helpers.processes import UNMEASURED, Process
from tests.helpers.support import ROOT, RedisTestCase, folder_of, free_port
from tests.program.test_program import ENDED

FILE = ROOT / "contrib" / "Dockerfile"
INSTALLED = "/opt/opentera-bus"


def instructions(name: str) -> list[str]:
    """Return the arguments of all instructions of a name, in order."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return re.findall(rf"^(?:HEALTHCHECK .*)?{name} (.*)$", text, re.MULTILINE)


class LintTests(TestCase):
    def test_hadolint_finds_nothing_wrong(self) -> None:
        linter = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
        if linter is None:  # pip has it for some architectures only
            raise SkipTest("left out: this test needs hadolint")
        done = subprocess.run((linter, str(FILE)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_the_image_does_not_run_as_root(self) -> None:
        (user,) = instructions("USER")
        assert int(user) > 0
        assert f"--uid {user} " in FILE.read_text()

    def test_copied_files_pass_dockerignore(self) -> None:
        ignored = (ROOT / "contrib" / "Dockerfile.dockerignore").read_text().split()
        for copied in instructions("COPY"):
            if not copied.startswith("--from="):
                for source in copied.split()[:-1]:
                    assert f"!{source}" in ignored


class BuildTests(RedisTestCase):
    """The build without downloads: the environment borrows packages and pip of the tests."""

    async def test_the_built_program_starts_is_healthy_and_ends(self) -> None:
        directory = folder_of(self)
        source, installed = directory / "source", directory / "installed"
        source.mkdir()
        for copied in instructions("COPY"):
            if copied.startswith("--from="):
                continue
            *names, target = copied.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(
                        ROOT / name,
                        source / target,
                        ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"),
                    )
                else:
                    shutil.copy(ROOT / name, source)
        build = next(command for command in instructions("RUN") if "pip install" in command)
        build = build.replace("-m venv", "-m venv --without-pip")
        borrowed = {
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "PIP_NO_COMPILE": "1",
            "PIP_NO_DEPS": "1",
        }
        built = await deferToThread(
            subprocess.run,
            ("sh", "-ec", build.replace(INSTALLED, str(installed))),
            cwd=source,
            env={**os.environ, **borrowed, **UNMEASURED},
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stdout + built.stderr
        python = str(installed / "bin" / "python")
        admin = free_port()
        environment = {"PYTHONPATH": borrowed["PYTHONPATH"], **UNMEASURED}
        twistd, *own = json.loads(instructions("ENTRYPOINT")[0])
        health, entry = map(json.loads, instructions("CMD"))
        options = [
            option.replace("redis://redis:6379/0", self.gateway_url).replace(
                "40085", f"{free_port()}:interface=127.0.0.1"
            )
            for option in entry
        ]
        program = "from twisted.scripts.twistd import run; run()"
        assert twistd == "twistd"
        gateway = Process(
            *(python, "-c", program, *own, *options),
            *("--admin", f"tcp:{admin}:interface=127.0.0.1"),
            environment=environment,
        )
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        assert health[:2] == ["python", "-c"]
        check = health[2].replace(":40086/", f":{admin}/")
        assert check != health[2]
        healthy = Process(python, "-c", check, environment=environment)
        self.addCleanup(healthy.kill)
        assert await healthy.ended() == 0, healthy.output
        gateway.send(signal.SIGTERM)
        assert await gateway.ended() in ENDED
        ill = Process(python, "-c", check, environment=environment)
        self.addCleanup(ill.kill)
        assert await ill.ended() == 1
