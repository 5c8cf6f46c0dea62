"""The code of README and docs, run as readers do; the reference against the code."""

from __future__ import annotations

import builtins
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from opentelemetry import trace
from twisted.internet import reactor, task
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted import Bus, BusError, Procedures, errors, variables
from opentera_twisted.cli.commands import load_commands
from opentera_twisted.program.options import REPEATABLE, Options
from tests.helpers.browser import BrowserTestCase
from tests.helpers.processes import UNMEASURED, Process, twistd
from tests.helpers.support import (
    GUARD,
    ROOT,
    RedisTestCase,
    Server,
    folder_of,
    free_port,
    start_bus,
)

DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\{?\w+\}?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

COMMANDS = str(Path(sys.executable).parent)
"""Folder of the commands that pages name."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    return [block for name, block in BLOCK.findall(page.read_text()) if name == language]


def named(path: str) -> Path:
    """Return a page by its path in docs."""
    return DOCS / path


class PythonTests(RedisTestCase):
    """Runs the ``example``s of a page in order, with shared names."""

    def setUp(self) -> None:
        super().setUp()
        # A process can have one provider of tracers only; the tests of traces have their own.
        self.patch(
            trace, "set_tracer_provider", lambda provider: self.addCleanup(provider.shutdown)
        )

    async def run_page(self, page: Path) -> None:
        names: dict[str, Any] = {"print": lambda *_: None, "reactor": reactor}
        for number, block in enumerate(blocks(page, "python")):
            here = block.replace("127.0.0.1:6379", f"127.0.0.1:{self.server.port}")
            exec(compile(here, f"{page.name}, block {number}", "exec"), names)
            for bus in list(names.values()):
                if isinstance(bus, Bus) and bus.running:
                    self.addCleanup(stop, bus)
            example = names.pop("example", None)
            if inspect.iscoroutinefunction(example):
                await example()
            elif example is not None:
                await deferToThread(example)


def stop(bus: Bus) -> Any:
    """Stop it if it is running."""
    return maybeDeferred(bus.stopService) if bus.running else None


def _test_of(page: Path) -> Callable[[PythonTests], Any]:
    async def test(self: PythonTests) -> None:
        await self.run_page(page)

    return test


for _page in PAGES:
    if blocks(_page, "python") and _page.name not in {"README.md", "index.md", "tutorial.md"}:
        setattr(PythonTests, f"test_{_page.stem.replace('-', '_')}", _test_of(_page))


class CommandTestCase(RedisTestCase):
    """Pages whose commands run on free ports instead of the named ones."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)
        self.ports = {str(named): free_port() for named in (40085, 40086, 8080)}
        self.ports["6379"] = self.server.port

    def here(self, text: str) -> str:
        """Replace the ports by those of this test."""
        for port, free in self.ports.items():
            text = re.sub(rf"(127\.0\.0\.1:|tcp:){port}\b", rf"\g<1>{free}", text)
        return text

    async def start_first_gateway(self, *options: str) -> Process:
        """Start a gateway that starts its own Redis."""
        gateway = twistd(*map(self.here, options), redis_port=int(self.ports["6379"]))
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        return gateway

    async def start_gateway(self, *options: str) -> Process:
        endpoints = ("--websocket", "tcp:40085:interface=127.0.0.1")
        admin = ("--admin", "tcp:40086:interface=127.0.0.1")
        gateway = twistd(
            *map(self.here, (*endpoints, *admin)), "--redis", self.server.url, *options
        )
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        return gateway

    def start(self, command: str) -> Process:
        """Start a command that does not end by itself."""
        program = Process(
            "sh", "-c", f"cd {self.directory} && exec {command}", environment=self.environment
        )
        self.addCleanup(program.kill)
        return program

    @property
    def environment(self) -> dict[str, str]:
        path = f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"
        return {
            "PATH": path,
            "REDIS_URL": f"redis://127.0.0.1:{self.ports['6379']}/0",
            **UNMEASURED,
        }

    async def run_here(self, script: str) -> str:
        """Run a script in a shell; return its output if each command succeeds."""
        program = Process(
            "bash",
            "-euc",
            f"cd {self.directory}\n{self.here(script)}",
            environment=self.environment,
        )
        self.addCleanup(program.kill)
        assert await program.ended() == 0, program.output
        return program.output


class ReadmeTests(CommandTestCase):
    async def test_the_program(self) -> None:
        await self.run_programs(ROOT / "README.md")

    async def test_the_programs_of_the_first_page(self) -> None:
        await self.run_programs(named("index.md"))

    async def run_programs(self, page: Path) -> None:
        """Run the three programs of a page: Twisted, asyncio, Flask."""
        for_twisted, for_asyncio, for_flask = [
            compile(self.here(block), page.name, "exec") for block in blocks(page, "python")
        ]
        mains: list[Any] = []
        printed: list[object] = []
        self.patch(task, "react", mains.append)
        exec(for_twisted, {"print": printed.append})
        await mains[0](reactor)
        await deferToThread(exec, for_asyncio, {"print": printed.append})
        assert printed == [3, 3]

        names: dict[str, Any] = {"__name__": "program"}
        exec(for_flask, names)
        self.addCleanup(deferToThread, names["bus"].close)
        server = start_bus(self, self.server.url)
        procedures = Procedures()
        procedures.expose(name="add")(lambda a, b: a + b)
        await server.serve_service("Sum", procedures)
        answer = await deferToThread(names["app"].test_client().get, "/add/1/2")
        assert answer.json == {"sum": 3}

    async def test_the_commands(self) -> None:
        make, install, twistd_line, commands = blocks(ROOT / "README.md", "sh")
        makefile = (ROOT / "Makefile").read_text()
        for target in re.findall(r"^make (\w+)", make, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert_extras(install)
        self.ports["6379"] = free_port()
        start, options = twistd_line.strip().split("opentera-bus")
        assert start == "twistd -n "
        await self.start_first_gateway(*options.split(), "--admin", "none")
        printed = (await self.run_here(commands)).splitlines()
        assert printed[0].startswith("user.")
        assert printed[1:] == ["[]", "0"]


def assert_extras(script: str) -> None:
    """Assert that the extras named by a page exist."""
    known = set(metadata("opentera-twisted").get_all("Provides-Extra", []))
    (extras,) = re.findall(r"pip install '?opentera-twisted\[([\w,]+)\]", script)
    assert set(extras.split(",")) <= known


class TutorialTests(CommandTestCase, BrowserTestCase):
    async def test_the_tutorial(self) -> None:
        self.ports["6379"] = free_port()
        page = named("tutorial.md")
        install, run_gateway, run_service, ring, look = blocks(page, "sh")
        assert_extras(install)
        assert run_gateway == "twistd -n opentera-bus\n"
        (service,) = blocks(page, "python")
        (html,) = blocks(page, "html")
        (self.directory / "bell.py").write_text(self.here(service))
        (self.directory / "page.html").write_text(self.here(html))
        listening = (
            *("--websocket", "tcp:40085:interface=127.0.0.1"),
            *("--admin", "tcp:40086:interface=127.0.0.1"),
        )
        gateway = await self.start_first_gateway(*listening)
        program = self.start(run_service)
        await program.says("Open http")
        await self.browser.open(f"http://127.0.0.1:{self.ports['8080']}/")
        await self.browser.run(SHOWN, "open")
        assert await self.run_here(ring) == "1\n"
        await self.browser.run(SHOWN, "Hello, Zoé")
        assert "Bell" in await self.run_here(look)
        gateway.interrupt()
        await gateway.ended()
        login = "curl -s -o /dev/null -w '%{http_code}' -X POST http://127.0.0.1:8080/login"
        assert await self.run_here(login) == "503"
        await self.browser.run(NOT_SHOWN, "open")
        await self.start_first_gateway(*listening)
        await self.browser.run(SHOWN, "open")
        assert "Traceback" not in program.output


UNTIL = """
const wanted = arguments[0];
while (IS_MISSING) {
  await new Promise((resolve) => new MutationObserver(resolve).observe(
    document.body, {childList: true, subtree: true, characterData: true}));
}
"""
SHOWN = UNTIL.replace("IS_MISSING", "!document.body.innerText.includes(wanted)")
NOT_SHOWN = UNTIL.replace("IS_MISSING", "document.body.innerText.includes(wanted)")


class HowToTests(CommandTestCase):
    async def test_metrics(self) -> None:
        gateway = await self.start_gateway("--workers", "2")
        await gateway.says("workers are ready")
        (command,) = blocks(named("how-to/metrics.md"), "sh")
        there = set(re.findall(r"^(opentera_bus_\w+)", await self.run_here(command), re.MULTILINE))
        told = set(re.findall(r"`(opentera_bus_\w+)`", named("how-to/metrics.md").read_text()))
        histograms = {name.removesuffix("_bucket") for name in there}
        assert told <= there | histograms

    async def test_least_rights(self) -> None:
        (script,) = blocks(named("how-to/least-rights.md"), "sh")
        etc = self.directory / "etc"
        etc.mkdir()
        script = script.replace("/etc/redis", str(etc)).replace("chown redis:", "true")
        await self.run_here(script.replace("cp contrib", f"cp {ROOT}/contrib"))
        assert (etc / "redis.conf").read_text() == f"aclfile {etc}/users.acl\n"
        server = Server("--aclfile", f"{etc}/users.acl")
        self.addCleanup(server.stop)
        password = (self.directory / "password-of-the-GATEWAYS").read_text().strip()
        with server.client(username="opentera-gateway", password=password) as client:
            assert client.ping()


# The shell parses, but does not run, commands for other machines.
ELSEWHERE = {
    ("how-to/deployment.md", "systemctl"): "the units are started by test_contrib_systemd",
    ("how-to/traces.md", "--tracing"): "tests/tracing/test_export.py starts the program",
    ("how-to/deployment.md", "docker"): "tests/contrib/test_docker.py checks the image",
}
RUN = {"README.md", "tutorial.md", "how-to/metrics.md", "how-to/least-rights.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_is_tested(page: Path) -> None:
    path = str(page.relative_to(ROOT if page.parent == ROOT else DOCS))
    for language, block in BLOCK.findall(page.read_text()):
        match language:
            case "python" | "text" | "{toctree}":
                pass  # run above; a drawing, or a program's output
            case "sh":
                elsewhere = [word for name, word in ELSEWHERE if name == path and word in block]
                assert path in RUN or elsewhere
                subprocess.run(["bash", "-n", "-c", block], check=True)
                for file in re.findall(r"\bcontrib/[\w.-]+", block):
                    assert (ROOT / file).exists(), file
            case "json":
                json.loads(block)
            case "yaml":
                yaml.safe_load(block)
            case "toml":
                tomllib.loads(block)
            case "html":
                assert path in {"tutorial.md", "reference/browser.md"}  # see test_browser
            case _:
                raise AssertionError(f"nothing tries {language}")


def test_every_block_has_a_language() -> None:
    for page in PAGES:
        fences = re.findall(r"^(```.*)$", page.read_text(), re.MULTILINE)
        assert all(fence != "```" for fence in fences[::2]), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target
    broken = re.search(r"\]\([\w./#-]+\n", text)
    assert not broken, f"Markdown shows a link across two lines as text: {broken}"


def test_the_page_of_a_package_index_has_no_relative_link() -> None:
    packaging = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    text = packaging["index_page"]((ROOT / "README.md").read_text())
    assert not LINK.findall(text)
    assert "src=" not in text
    paths = re.findall(r"`((?:docs|examples)/[\w/.-]+)`", text)
    assert "docs/tutorial.md" in paths
    assert all((ROOT / path).is_file() for path in paths)


OF_OTHERS = {
    "twistd": "logfile pidfile",
    "docker": "detach file network publish read-only stop-timeout tag",
    "systemctl": "now",
    "gunicorn and uWSGI": "enable-threads preload threads worker-class",
    "pip": "no-deps",
    "Prometheus": "enable-feature",
    "pytest and trial": "debug debug-stacktraces nopm pdb until-failure",
    "towncrier": "version yes",
    "the benchmarks": "against count plots quick rounds",
}
"""Options on pages that belong to other programs."""


def own_options() -> set[str]:
    """Return the names of all options of both programs."""
    gateway = Options()
    names = {str(name) for name, *_ in (*gateway.optParameters, *gateway.optFlags)} | {*REPEATABLE}
    commands: list[click.Command] = [load_commands()]
    while commands:
        command = commands.pop()
        commands += command.commands.values() if isinstance(command, click.Group) else ()
        flags = (
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
        )
        names |= {flag.removeprefix("--") for flag in flags}
    return names | {"help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_option_exists(page: Path) -> None:
    others = {name for names in OF_OTHERS.values() for name in names.split()}
    told = {*re.findall(r"(?<![\w-])--([a-z][a-z-]*)", page.read_text())}
    assert not told - own_options() - others


def test_the_drawn_bytes_equal_the_sent_bytes() -> None:
    page = named("reference/wire.md")
    drawn = [
        "".join(re.findall(r"^ *((?:[0-9a-f]{2} )*[0-9a-f]{2}\b(?: …)?)", block, re.MULTILINE))
        for block in blocks(page, "text")
    ]
    names: dict[str, Any] = {}
    for block in blocks(page, "python")[:2]:
        exec(compile(block, page.name, "exec"), names)
    event, request = (names[name].SerializeToString().hex() for name in ("event", "request"))
    assert drawn[1].replace(" ", "") == request
    begin, end = drawn[0].replace(" ", "").split("…")  # a long name is between
    assert event.startswith(begin)
    assert event.endswith(end)


class ReferenceTests(TestCase):
    def test_generated_pages_are_up_to_date(self) -> None:
        # In a separate process, as in make reference: click keeps state of other tests.
        with tempfile.TemporaryDirectory() as made:
            command = [sys.executable, "-m", "tools.generate_reference", made]
            subprocess.run(command, cwd=ROOT, check=True, timeout=GUARD)
            texts = {page.name: page.read_text() for page in Path(made).iterdir()}
        assert len(texts) == 3
        for name, text in texts.items():
            there = (DOCS / "reference" / name).read_text()
            assert there.split() == text.split(), f"{name} is not up to date: make reference"

    def test_every_error_is_listed(self) -> None:
        listed = re.findall(
            r"^\| `(\w+)` \|", named("reference/errors.md").read_text(), re.MULTILINE
        )
        known = [
            name
            for name, one in vars(errors).items()
            if inspect.isclass(one) and issubclass(one, BusError) and name not in vars(builtins)
        ]
        assert sorted([*listed, "BusError", "CallError"]) == sorted(known)

    def test_every_error_has_a_cause_and_a_remedy(self) -> None:
        tables = re.findall(
            r"(?:^\|.*\|\n)+", named("reference/errors.md").read_text(), re.MULTILINE
        )
        errors_of = [table for table in tables if table.startswith("| error |")]
        assert len(errors_of) == 5
        for table in errors_of:
            heads, _, *rows = (
                [*map(str.strip, row[1:-1].split("|"))] for row in table.splitlines()
            )
            assert {"cause", "remedy"} <= {*heads}
            for row in rows:
                assert len(row) == len(heads), row
                assert all(row), row

    def test_every_variable_is_listed(self) -> None:
        page = named("reference/variables.md").read_text()
        for secret in variables.Secret:
            assert f"| `{secret.value}` | `Secret.{secret.name}` |" in page
        for level in variables.LogList:
            assert f"`{level.value}`" in page
        for name, function in (
            ("service_information", "service.KEY"),
            ("user_login_attempts", "UserLoginAttempts.UUID"),
            ("participant_login_attempts", "ParticipantLoginAttempts.UUID"),
            ("user_2fa_login_attempts", "User2FALoginAttempts.UUID"),
            ("service_auth_code", "service_auth_code_CODE"),
        ):
            argument = function.replace("_CODE", ".CODE").rsplit(".", 1)[1]
            assert getattr(variables, name)(argument) == function
            assert re.search(rf"\| `{re.escape(function)}` \| `{name}\(", page)
