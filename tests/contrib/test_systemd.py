"""``contrib/opentera-bus.service`` and ``.socket``: verified by systemd's tools, and started."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys

from twisted.trial.unittest import TestCase

from opentera_twisted import SessionKeys
from opentera_twisted.gateway import GatewayLimits
from tests.helpers.processes import twistd_with_sockets
from tests.helpers.support import PASSWORD, ROOT, UUID, RedisTestCase, folder_of, free_port
from tests.helpers.tools import tool
from tests.helpers.websockets import connect
from tests.program.test_program import ENDED

SERVICE = ROOT / "contrib" / "opentera-bus.service"
SOCKET = ROOT / "contrib" / "opentera-bus.socket"
WORST_EXPOSURE = 15  # tenths of 10


def command() -> list[str]:
    """Return the command of the unit."""
    text = SERVICE.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    return shlex.split(line)


class UnitTests(TestCase):
    def setUp(self) -> None:
        """Copy the units, with an existing program, for systemd's tools."""
        self.directory = folder_of(self)
        text = SERVICE.read_text().replace("/opt/opentera-bus/bin/twistd", sys.executable)
        self.units = [self.directory / SERVICE.name, self.directory / SOCKET.name]
        self.units[0].write_text(text)
        self.units[1].write_text(SOCKET.read_text())

    def analyze(self, *arguments: str) -> str:
        done = subprocess.run(
            (tool("systemd-analyze", "systemd"), *arguments),
            capture_output=True,
            text=True,
            check=False,
            env={"SYSTEMD_LOG_LEVEL": "notice", "SYSTEMD_UNIT_PATH": f"{self.directory}:"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    def test_systemd_finds_nothing_wrong(self) -> None:
        assert self.analyze("verify", "--man=no", *map(str, self.units)) == ""

    def test_the_exposure_of_the_unit_is_low(self) -> None:
        self.analyze(
            *("security", "--offline=true", f"--threshold={WORST_EXPOSURE}", str(self.units[0]))
        )


class StartTests(RedisTestCase):
    async def test_the_command_of_the_unit_serves_the_socket_of_the_other(self) -> None:
        program, *own, plugin = command()[: command().index("opentera-bus") + 1]
        assert (program, own) == ("/opt/opentera-bus/bin/twistd", ["--nodaemon", "--pidfile="])
        assert plugin == "opentera-bus"
        (name,) = re.findall(r"^FileDescriptorName=(.*)$", SOCKET.read_text(), re.MULTILINE)
        (credential,) = re.findall(r"^LoadCredential=(.*?):", SERVICE.read_text(), re.MULTILINE)
        credentials = folder_of(self)
        (credentials / credential).write_text(f"{PASSWORD}\n")
        options = [
            option.replace("${CREDENTIALS_DIRECTORY}", str(credentials))
            .replace(":6379", f":{self.server.port}")
            .replace("40086", str(free_port()))
            for option in command()[command().index("opentera-bus") + 1 :]
        ]
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        gateway = twistd_with_sockets({name: listening}, *options)
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        key = await SessionKeys(await self.bus()).issue("user", UUID)
        client = await connect(listening.getsockname()[1], f"/wss/user?id={key}")
        gateway.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await gateway.ended() in ENDED

    def test_the_stop_timeout_exceeds_that_of_the_gateway(self) -> None:
        (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", SERVICE.read_text(), re.MULTILINE)
        assert int(seconds) > GatewayLimits().shutdown_timeout
