"""Fixtures of tests against a real server: the server, and a bus stopped at the end."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import time
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
from opentera_twisted.link import retry_pause
from opentera_twisted.topics import websocket_events
from tools.ports import free_port as free_port  # noqa: PLC0414 (tests import it from here)

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
"""Seconds after which a missing event fails a test.

No test approaches it, even on a busy machine: a test need not be fast.
"""

TURN: Final = 0.002
"""Seconds between two looks of a loop that waits."""

LONGEST_PAUSE: Final = 0.05
"""Seconds between two requests of a long wait, which else would occupy a processor."""


class Server:
    """A Redis-compatible server for tests, which ends with the test process."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        # The default, ten thousand above the port, may be another test's.
        bus = ("--cluster-port", str(free_port())) if "--cluster-enabled" in options else ()
        self._options = (*options, *bus)
        self.start()

    def start(self) -> None:
        """Start the server and return when it is ready."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]
        command = guarded("prctl", find_server(), *options)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                return
        raise AssertionError("the server ended")

    def stop(self) -> None:
        """Kill the server and return when it has ended."""
        self.process.kill()
        self.process.wait(GUARD)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, **options: Any) -> redis.Redis:
        """Connect as another program."""
        return redis.Redis(
            port=self.port,
            protocol=2,
            socket_timeout=GUARD,  # redis-py's own is 5 s
            socket_connect_timeout=GUARD,
            **options,
        )

    def url_as(self, user: str) -> str:
        """Return the URL of a user of ``contrib/redis.acl``."""
        return f"redis://{user}:{PASSWORD}@127.0.0.1:{self.port}/0"


def acl(extra: str = "") -> str:
    """Return ``contrib/redis.acl`` with passwords, but none for the administrator."""
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    text = (ROOT / "contrib" / "redis.acl").read_text()
    text = text.replace("#SHA256-OF-THE-ADMINISTRATORS-PASSWORD", "nopass")
    return re.sub(r"#SHA256-OF-THE-\w+-PASSWORD", f"#{digest}", text) + extra


def start_with_acl(extra: str = "") -> Server:
    """Return a server with the users of `acl`."""
    with tempfile.NamedTemporaryFile("w", suffix=".acl") as file:
        file.write(acl(extra))
        file.flush()
        return Server("--aclfile", file.name)


@cache
def shared_server() -> Server:
    """Return the shared server.

    The user `OWN` is a service with all rights of docs/how-to/least-rights.md on any name.
    """
    (rules,) = re.findall(rf"^user {SERVICE} (.*)$", acl(), re.MULTILINE)
    added = " ".join(service_additions().values()).split()
    commands = " ".join(rule for rule in added if rule.startswith("+"))
    return start_with_acl(f"user {OWN} {rules} {commands} ~* &*\n")


def service_additions() -> dict[str, str]:
    """Return the rules of docs/how-to/least-rights.md for services, by purpose."""
    return _additions("a service that")


def console_additions() -> dict[str, str]:
    """Return the rules of docs/how-to/least-rights.md for a gateway, by panel."""
    return _additions("console panel")


def _additions(title: str) -> dict[str, str]:
    page = (ROOT / "docs" / "how-to" / "least-rights.md").read_text()
    table = page.partition(f"| {title} | needs |\n")[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|`]+) \| `(.*?)`", table, re.MULTILINE)
    assert found, f"the page has no table of rules for {title}"
    return {name: rules.replace("\\|", "|") for name, rules in found}


def start_server(test: TestCase, *options: str) -> Server:
    """Return a server that is stopped at the end of the test."""
    server = Server(*options)
    test.addCleanup(server.stop)
    return server


def start_bus(test: TestCase, url: str, name: str = "test", *, tracing: bool = False) -> Bus:
    """Return a connecting bus that is stopped at the end of the test."""
    bus = Bus(url, reactor=reactor, name=name, tracing=tracing)
    bus.startService()
    test.addCleanup(bus.stopService)
    return bus


class RedisTestCase(TestCase):
    """A test against the shared server, emptied before each.

    Attributes:
        redis_user: User of ``contrib/redis.acl`` as which its buses log in.
    """

    redis_user = OWN

    def setUp(self) -> None:
        """Delete all data of the server."""
        self.server = shared_server()
        self.redis = self.server.client()
        self.addCleanup(self.redis.close)
        self.redis.flushall()

    @property
    def gateway_url(self) -> str:
        """Return the URL with which a gateway logs in."""
        return self.server.url_as(GATEWAY)

    async def bus(
        self, url: str | None = None, name: str = "test", *, tracing: bool = False
    ) -> Bus:
        """Return a connected bus that is stopped at the end of the test."""
        url = url or self.server.url_as(self.redis_user)
        bus = start_bus(self, url, name, tracing=tracing)
        await bus.connected()
        return bus

    def subscribed(self, *channels: str) -> redis.client.PubSub:
        """Return another program's acknowledged subscription."""
        pubsub: redis.client.PubSub = self.redis.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe(*channels)
        for _ in channels:
            pubsub.get_message(timeout=GUARD)
        return pubsub


def message(pubsub: redis.client.PubSub) -> Deferred[bytes]:
    """Return the next message of another program's subscription."""

    def get() -> bytes:
        received = pubsub.get_message(timeout=GUARD, ignore_subscribe_messages=True)
        while received is None or received["type"] not in {"message", "pmessage"}:
            assert received is not None, "no message came"
            received = pubsub.get_message(timeout=GUARD, ignore_subscribe_messages=True)
        data: bytes = received["data"]
        return data

    return deferToThread(get)


async def server_pid(port: int) -> int:
    """Return the process id of the server on a port, once it answers."""
    end = time.monotonic() + GUARD

    def ask() -> int:
        with redis.Redis(port=port, protocol=2) as client:
            while True:
                try:
                    pid: int = client.info("server")["process_id"]
                except redis.exceptions.ConnectionError:  # a daemon's server may still start
                    if time.monotonic() > end:
                        raise
                else:
                    return pid

    return await deferToThread(ask)


def write_slow_data(directory: Path) -> None:
    """Return data that a server loads for some seconds, answering LOADING; it sets ``a`` to 1."""
    folder = directory / "appendonlydir"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("file a.1.incr.aof seq 1 type i\n")
    slow = ("EVAL", "for _ = 1, 3e7 do end", "0")  # some 0.1 s
    commands: list[Any] = [("SELECT", "0"), *[("SET", "a", "1")] * 2000, slow] * 10
    data = b"".join(hiredis.pack_command(words) for words in commands)
    (folder / "a.1.incr.aof").write_bytes(data)


def folder_of(test: SynchronousTestCase) -> Path:
    """Return an empty folder that is removed after the test."""
    folder = Path(tempfile.mkdtemp())
    test.addCleanup(shutil.rmtree, folder)
    return folder


def turn() -> Deferred[None]:
    """Fire after a moment, for a loop that waits for threads, programs or the reactor.

    Without the pause, a loop would occupy a processor that those need.
    """
    return deferLater(reactor, TURN)


async def until(condition: Callable[[], Awaitable[T]], expected: Callable[[T], bool]) -> T:
    """Repeat a request until its answer is the expected one, after longer and longer pauses."""
    pause = TURN
    while True:
        value = await condition()
        if expected(value):
            return value
        await deferLater(reactor, pause)
        pause = min(1.2 * pause, LONGEST_PAUSE)


class Collector:
    """A handler that collects items and lets a test wait for them."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._waiting: list[tuple[int, Deferred[list[Any]]]] = []

    def __call__(self, item: Any = None) -> None:
        """Collect an item."""
        self.items.append(item)
        for count, waiting in list(self._waiting):
            if len(self.items) >= count:
                self._waiting.remove((count, waiting))
                waiting.callback(self.items)

    def wait(self, count: int) -> Deferred[list[Any]]:
        """Fire with all items when there are that many."""
        waiting: Deferred[list[Any]] = Deferred()
        if len(self.items) >= count:
            waiting.callback(self.items)
        else:
            self._waiting.append((count, waiting))
        return waiting


async def caught_up(bus: Bus) -> None:
    """Wait until a bus has delivered all messages published so far.

    A reply on the client connection may overtake messages on the subscriber connection.
    """
    behind = await bus.subscribe(websocket_events("user", str(uuid4())), Collector())
    await behind.cancel()


def log_of(test: SynchronousTestCase) -> Collector:
    """Return a collector of the text of each log event during a test."""
    collector = Collector()

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        collector(formatEvent(event) + repr(event.get("log_failure", "")))

    globalLogPublisher.addObserver(observe)
    test.addCleanup(globalLogPublisher.removeObserver, observe)
    return collector


def quick_retries(test: TestCase) -> Collector:
    """Retry refused commands at once; return a collector with an item for each retry."""
    retries = Collector()

    def soon(clock: Any, delay: float) -> Deferred[None]:
        retries(delay)
        return deferLater(clock, 0.01)

    test.patch(retry_pause, "deferLater", soon)
    return retries
