"""What tests against a real server share: the server, and a bus that is stopped at the end."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import hiredis
import redis
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from opentera_twisted import Bus
from opentera_twisted.embedded.process import find_server, guarded
from opentera_twisted.link import retry
from opentera_twisted.topics import websocket_events

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"

GATEWAY = "opentera-gateway"
SERVICE = "opentera-service"
READER = "opentera-reader"
OWN = "service-with-names-of-its-own"
PASSWORD = "of-all-test-users"

UUID = "11111111-2222-3333-4444-555555555555"

GUARD: Final = 600.0
"""Seconds after which something that never comes fails a test.

No test comes near it, however busy the machine: a test never needs to be fast.
"""

_bound: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens, until a program is told to.

    Nobody else on the machine is given it before this process ends, such as another test that
    runs meanwhile: it stays bound. Servers can listen there, as all set ``SO_REUSEADDR``; on
    macOS, where that is not enough, it is bound no longer than here.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    if sys.platform == "linux":
        _bound.append(probe)
    else:
        probe.close()
    return port


class Server:
    """A Redis-compatible server for tests, which ends with the test process.

    Args:
        options: of the server, such as ``--requirepass x``.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, and return when it is ready."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]
        command = guarded("prctl", find_server(), *options)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                return
        raise AssertionError("the server ended")

    def stop(self) -> None:
        """Kill it, and return when it is gone."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, **options: Any) -> redis.Redis:
        """A connection of another program."""
        return redis.Redis(port=self.port, protocol=2, **options)

    def url_as(self, user: str) -> str:
        """The URL with which one of the users of ``contrib/redis.acl`` logs in."""
        return f"redis://{user}:{PASSWORD}@127.0.0.1:{self.port}/0"


def acl(extra: str = "") -> str:
    """``contrib/redis.acl`` with passwords: none for the administrator, who is the tests.

    Args:
        extra: lines after its own.
    """
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    text = (ROOT / "contrib" / "redis.acl").read_text()
    text = text.replace("#SHA256-OF-THE-ADMINISTRATORS-PASSWORD", "nopass")
    return re.sub(r"#SHA256-OF-THE-\w+-PASSWORD", f"#{digest}", text) + extra


def start_with_acl(extra: str = "") -> Server:
    """A server that lets in whom `acl` says."""
    with tempfile.NamedTemporaryFile("w", suffix=".acl") as file:
        file.write(acl(extra))
        file.flush()
        return Server("--aclfile", file.name)


@cache
def shared_server() -> Server:
    """The server of all tests that need no particular one.

    `OWN` is a service that has got all that docs/how-to/least-rights.md names, and any name.
    """
    (rules,) = re.findall(rf"^user {SERVICE} (.*)$", acl(), re.MULTILINE)
    added = " ".join(service_additions().values()).split()
    commands = " ".join(rule for rule in added if rule.startswith("+"))
    return start_with_acl(f"user {OWN} {rules} {commands} ~* &*\n")


def service_additions() -> dict[str, str]:
    """Rules that docs/how-to/least-rights.md names for services, by what they are for."""
    return _additions("a service that")


def console_additions() -> dict[str, str]:
    """Rules that docs/how-to/least-rights.md names for a gateway, by the panel that needs them."""
    return _additions("console panel")


def _additions(title: str) -> dict[str, str]:
    page = (ROOT / "docs" / "how-to" / "least-rights.md").read_text()
    table = page.partition(f"| {title} | needs |\n")[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|`]+) \| `(.*?)`", table, re.MULTILINE)
    assert found, f"the page has no table of what {title} needs"
    return {name: rules.replace("\\|", "|") for name, rules in found}


def start_server(test: TestCase, *options: str) -> Server:
    """A server that is stopped at the end of the test."""
    server = Server(*options)
    test.addCleanup(server.stop)
    return server


def start_bus(test: TestCase, url: str, name: str = "test") -> Bus:
    """A bus that connects, and is stopped at the end of the test."""
    bus = Bus(url, reactor=reactor, name=name)
    bus.startService()
    test.addCleanup(bus.stopService)
    return bus


class RedisTestCase(TestCase):
    """A test against the shared server, emptied before each.

    Attributes:
        redis_user: as whom its buses log in, with no more rights than those of the file.
    """

    redis_user = OWN

    def setUp(self) -> None:
        """Empty the server."""
        self.server = shared_server()
        self.redis = self.server.client()
        self.addCleanup(self.redis.close)
        self.redis.flushall()

    @property
    def gateway_url(self) -> str:
        """The URL with which a gateway logs in."""
        return self.server.url_as(GATEWAY)

    async def bus(self, url: str | None = None, name: str = "test") -> Bus:
        """A bus that is connected, and stopped at the end of the test."""
        bus = start_bus(self, url or self.server.url_as(self.redis_user), name)
        await bus.connected()
        return bus

    def subscribed(self, *channels: str) -> redis.client.PubSub:
        """Another program's subscription, acknowledged."""
        pubsub: redis.client.PubSub = self.redis.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe(*channels)
        for _ in channels:
            pubsub.get_message(timeout=GUARD)
        return pubsub


def message(pubsub: redis.client.PubSub) -> Deferred[bytes]:
    """The next message of another program's subscription."""

    def get() -> bytes:
        received = pubsub.get_message(timeout=GUARD, ignore_subscribe_messages=True)
        while received is None or received["type"] not in {"message", "pmessage"}:
            assert received is not None, "no message came"
            received = pubsub.get_message(timeout=GUARD, ignore_subscribe_messages=True)
        data: bytes = received["data"]
        return data

    return deferToThread(get)


async def server_pid(port: int) -> int:
    """The process id of the server that listens on a port."""

    def ask() -> int:
        with redis.Redis(port=port, protocol=2) as client:
            pid: int = client.info("server")["process_id"]
            return pid

    return await deferToThread(ask)


def write_slow_data(directory: Path) -> None:
    """Data that a server takes some seconds to load, answering that it does; ``a`` is 1 in it."""
    folder = directory / "appendonlydir"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("file a.1.incr.aof seq 1 type i\n")
    slow = ("EVAL", "for _ = 1, 3e7 do end", "0")  # some 0.1 s
    commands: list[Any] = [("SELECT", "0"), *[("SET", "a", "1")] * 2000, slow] * 10
    data = b"".join(hiredis.pack_command(words) for words in commands)
    (folder / "a.1.incr.aof").write_bytes(data)


def folder_of(test: SynchronousTestCase) -> Path:
    """An empty folder that is there for as long as a test runs."""
    folder = Path(tempfile.mkdtemp())
    test.addCleanup(shutil.rmtree, folder)
    return folder


def turn() -> Deferred[int]:
    """Fires when the reactor has had a turn, and other threads and programs a chance."""
    return deferToThread(int)


async def until(condition: Callable[[], Awaitable[T]], expected: Callable[[T], bool]) -> T:
    """Ask again, each time after an answer, until it is the one that is expected."""
    while True:
        value = await condition()
        if expected(value):
            return value


class Collector:
    """A handler that keeps what it gets, and lets a test wait for it."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._waiting: list[tuple[int, Deferred[list[Any]]]] = []

    def __call__(self, item: Any = None) -> None:
        """Keep one."""
        self.items.append(item)
        for count, waiting in list(self._waiting):
            if len(self.items) >= count:
                self._waiting.remove((count, waiting))
                waiting.callback(self.items)

    def wait(self, count: int) -> Deferred[list[Any]]:
        """Fires with all when there are so many."""
        waiting: Deferred[list[Any]] = Deferred()
        if len(self.items) >= count:
            waiting.callback(self.items)
        else:
            self._waiting.append((count, waiting))
        return waiting


async def caught_up(bus: Bus) -> None:
    """Wait until a bus has delivered everything that Redis has published so far.

    A reply on the client connection may overtake messages on the subscriber connection.
    """
    behind = await bus.subscribe(websocket_events("user", str(uuid4())), Collector())
    await behind.cancel()


def log_of(test: SynchronousTestCase) -> Collector:
    """Collects the text of each event that is logged during a test."""
    collector = Collector()

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        collector(formatEvent(event) + repr(event.get("log_failure", "")))

    globalLogPublisher.addObserver(observe)
    test.addCleanup(globalLogPublisher.removeObserver, observe)
    return collector


def quick_retries(test: TestCase) -> Collector:
    """Has what Redis did not take tried again at once, and collects one thing for each time."""
    retries = Collector()

    def soon(clock: Any, delay: float) -> Deferred[None]:
        retries(delay)
        return deferLater(clock, 0.01)

    test.patch(retry, "deferLater", soon)
    return retries
