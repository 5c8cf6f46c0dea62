"""No output contains a secret: a gateway that succeeds, fails, crashes and dumps."""

from __future__ import annotations

import secrets
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from tests.helpers.authority import Authority
from tests.helpers.processes import Process
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    UUID,
    RedisTestCase,
    folder_of,
    free_port,
    start_with_acl,
)
from tests.helpers.websockets import HandshakeFailed, connect, connect_bytes, handshake

_PROGRAM = """
import faulthandler, signal, sys
from opentera_twisted.sessions import SessionKeys

take = SessionKeys.take

def fail(self, kind, key):
    if kind == "device":
        raise RuntimeError("a mistake of ours")
    return take(self, kind, key)

SessionKeys.take = fail
faulthandler.enable()
faulthandler.register(signal.SIGQUIT, all_threads=True)
from twisted.scripts.twistd import run
run()
"""


def ask(url: str, method: str = "GET", token: str = "") -> str:
    """Return status line, headers and body of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=GUARD) as answer:
            return f"{answer.status} {answer.headers}\n{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.headers}\n{error.read().decode()}"


class SecretTests(RedisTestCase):
    def setUp(self) -> None:
        """Set up a server with a unique password, and a folder with unique files."""
        self.server = start_with_acl()
        self.addCleanup(self.server.stop)
        self.redis = self.server.client()
        self.addCleanup(self.redis.close)
        self.directory = folder_of(self)
        self.secrets: dict[str, str] = {}
        self.said: dict[str, str] = {}
        password = self.secret("password", secrets.token_hex(16))
        self.redis.execute_command("ACL", "SETUSER", GATEWAY, "resetpass", f">{password}")
        authority = Authority(self.directory)
        self.pem = authority.issue("localhost")
        root = Certificate.loadPEM(authority.file.read_bytes())
        self.trusting = optionsForClientTLS("localhost", root)
        private = self.pem.read_text().partition("PRIVATE KEY-----")[2]
        for number, line in enumerate(private.splitlines()[1:-1]):
            self.secret(f"line {number} of the private key", line)

    def secret(self, name: str, value: str) -> str:
        """Return a new secret."""
        assert len(value) > 8
        self.secrets[name] = value
        return value

    def file(self, name: str) -> str:
        """Return a file that holds a secret."""
        path = self.directory / name.replace(" ", "-")
        path.write_text(self.secrets[name] + "\n")
        path.chmod(0o600)
        return str(path)

    def check(self) -> None:
        """Assert that a text contains no secret and no random part of a session key."""
        for name, secret in self.secrets.items():
            for where, text in self.said.items():
                assert secret not in text, f"{name} is in {where}"
                assert secret.rpartition(".")[2] not in text, f"{name} is in {where}"

    def start(self, *options: str) -> tuple[Process, int, int]:
        websocket, admin = free_port(), free_port()
        self.secret("admin token", secrets.token_hex(16))
        program = Process(
            *(sys.executable, "-c", _PROGRAM, "--nodaemon", "--pidfile=", "opentera-bus"),
            *("--redis", f"redis://{GATEWAY}@127.0.0.1:{self.server.port}/0"),
            *("--redis-password-file", self.file("password")),
            *("--websocket", f"tcp:{websocket}:interface=127.0.0.1"),
            *("--certificate", str(self.pem), "--private-key", str(self.pem)),
            *("--admin", f"tcp:{admin}:interface=127.0.0.1"),
            *("--admin-token-file", self.file("admin token")),
            *options,
        )
        self.addCleanup(program.kill)
        return program, websocket, admin

    async def log_in(self, port: int, name: str, target: str) -> None:
        """Make a failing attempt; return the gateway's answer."""
        with self.assertRaises(HandshakeFailed) as refused:
            await connect(port, target, self.trusting)
        self.said[f"the answer to {name}"] = str(refused.exception)

    async def live(self, *options: str) -> None:
        """Run a gateway from its start to a crash."""
        program, port, admin = self.start(*options)
        await program.says("is ready")
        bus = await self.bus(f"redis://127.0.0.1:{self.server.port}")
        keys = SessionKeys(bus)
        good = self.secret("good key", await keys.issue("user", UUID, name="Zoé"))
        client = await connect(port, f"/wss/user?id={good}", self.trusting)
        self.secrets["used key"] = good
        await self.log_in(port, "a used key", f"/wss/user?id={good}")
        for name, kind, key in (
            ("unknown key", "user", f"user.{secrets.token_urlsafe(32)[:43]}"),
            ("unknown key of an existing program", "user", secrets.token_hex(64)),
            ("key of another kind", "participant", await keys.issue("user", UUID)),
            ("key of no form", "user", secrets.token_hex(10)),
            ("key that meets a mistake", "device", await keys.issue("device", UUID)),
        ):
            await self.log_in(port, name, f"/wss/{kind}?id={self.secret(name, key)}")
        unused = self.secret("unused key", await keys.issue("user", UUID))
        await self.log_in(port, "another path", f"/elsewhere/{unused}?id={unused}")
        await self.log_in(port, "too long a request", f"/wss/user?id={unused}{'x' * 20_000}")
        plain = await connect_bytes(port)
        plain.send(handshake(f"/wss/user?id={unused}".encode()))  # no TLS
        self.said["the answer without TLS"] = repr(await plain.closed)
        for path in ("/health", "/metrics", "/", f"/nothing?id={unused}", "/health/live"):
            for method in ("GET", "POST"):
                for token in ("", "wrong", self.secrets["admin token"]):
                    url = f"http://127.0.0.1:{admin}{path}"
                    answer = await deferToThread(ask, url, method, token)
                    self.said[f"{method} {path} {len(token)}"] = answer
        assert "opentera_bus_logins_total" in "".join(self.said.values())
        listed = Path(f"/proc/{program.pid}/cmdline")
        self.said["ps"] = await deferToThread(listed.read_text)
        program.send(signal.SIGQUIT)
        await program.says("most recent call first")
        # Redis restarts with another password.
        await deferToThread(self.server.stop)
        await program.says("trying again")
        await self.log_in(port, "a key while Redis is away", f"/wss/user?id={unused}")
        program.send(signal.SIGHUP)
        await program.says("certificate was read again")
        program.send(signal.SIGABRT)  # like a fault in an extension
        await client.closed
        assert await program.ended() == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in program.output
        assert "a mistake of ours" in program.output
        assert "refused with 403" in program.output
        self.said["the log"] = program.output
        self.check()

    async def test_a_gateway_that_fails_and_crashes(self) -> None:
        await self.live()

    async def test_a_gateway_that_logs_json(self) -> None:
        await self.live("--log-format", "json", "--log-level", "debug", "--audit-log", "stderr")
        assert "opentera_twisted.audit" in self.said["the log"]

    async def test_a_refused_password_is_not_printed(self) -> None:
        self.redis.execute_command("ACL", "SETUSER", GATEWAY, "resetpass", ">another")
        program, port, _ = self.start()
        await program.says("refuses the user or the password")
        await self.log_in(port, "a login", f"/wss/user?id={self.secret('key', 'user.' + 'k' * 43)}")
        program.send(signal.SIGTERM)
        await program.ended()
        assert "password" in program.output
        self.said["the log"] = program.output
        self.check()

    async def test_mistakes_of_the_command_lines(self) -> None:
        password = self.secrets["password"]
        for number, options in enumerate(
            (
                ("--redis", f"redis://:{password}@h/zero"),
                ("--redis", f"redis://u:{password}@h:99999"),
                ("--redis", f"http://u:{password}@h"),
                ("--certificate", str(self.pem), "--private-key", self.file("password")),
            )
        ):
            program = Process(
                *(sys.executable, "-c", _PROGRAM, "--nodaemon", "--pidfile=", "opentera-bus"),
                *options,
                fork=True,
            )
            self.addCleanup(program.kill)
            assert await program.ended() == 1
            self.said[f"mistake {number}"] = program.output
        for url in (
            f"redis://:{password}@127.0.0.1:{self.server.port}",
            f"redis://u:{password}@127.0.0.1:{free_port()}",
            f"redis://u:{password}@h/x",
        ):
            command = Process(
                *(sys.executable, "-m", "opentera_twisted.cli", "--timeout", "2", "get", "a"),
                environment={"REDIS_URL": url},
                fork=True,
            )
            self.addCleanup(command.kill)
            assert await command.ended() != 0
            self.said[f"the command line, {len(self.said)}"] = command.output
        self.check()
