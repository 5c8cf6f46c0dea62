"""Modules that ``opentera-bus`` loads, and those that it loads only for a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from opentera_twisted.cli.commands import COMMANDS, load_commands
from tests.helpers.processes import ENVIRONMENT, UNMEASURED
from tests.helpers.support import GUARD, free_port

_PROGRAM = """
import atexit, sys
from opentera_twisted.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


def loaded(*arguments: str, env: Mapping[str, str] | None = None) -> set[str]:
    """Run a command line and return the names of its modules."""
    return ran(_PROGRAM, *arguments, env=env)


def ran(
    program: str, *arguments: str, env: Mapping[str, str] | None = None, status: int = 0
) -> set[str]:
    """Run a program that writes the names of its modules to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**ENVIRONMENT, **UNMEASURED, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD,
    )
    assert done.returncode == status, done.stderr
    return {*done.stderr.split()}


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("--version",), {}),
        (("--help",), {}),
        (("completion", "bash"), {}),
        (
            (),
            {
                "_OPENTERA_BUS_COMPLETE": "bash_complete",
                "COMP_WORDS": "opentera-bus g",
                "COMP_CWORD": "1",
            },
        ),
    ],
    ids=["version", "help", "completion script", "completion"],
)
def test_help_and_completion_load_no_twisted(
    arguments: tuple[str, ...], env: Mapping[str, str]
) -> None:
    modules = loaded(*arguments, env=env)
    packages = {name.partition(".")[0] for name in modules}
    assert "opentera_twisted.cli.commands" in modules
    assert not packages & {"OpenSSL", "asyncio", "google", "rich", "twisted", "txredisapi"}
    assert "zope.interface" not in modules  # older versions put a bare zope into each process


def test_every_command_is_listed_with_its_summary() -> None:
    found = {}
    for name, command in load_commands().commands.items():
        assert command.callback is not None
        module = command.callback.__module__.removeprefix("opentera_twisted.cli.")
        found[name] = (module, command.get_short_help_str(limit=60))
    assert found == {**COMMANDS}


_NOT_OF_A_BUS = {
    "OpenSSL",
    "autobahn",
    "opentelemetry",
    "prometheus_client",
    "rich",
    "twisted.internet.endpoints",
    "twisted.internet.reactor",
    "twisted.internet.ssl",
    "txredisapi",
}
"""Modules that only some uses of a bus need: TLS, a gateway, metrics, tracing."""


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("bus", _NOT_OF_A_BUS | {"click"}),
        ("cli.variables", _NOT_OF_A_BUS),
        (
            "tap",
            {
                "autobahn.twisted",
                "autobahn.wamp.serializer",
                "klein",
                "opentelemetry",
                "opentera_twisted.user_manager",
                "prometheus_client",
                "rich",
                "twisted.internet.reactor",
                "twisted.web.server",
            },
        ),
    ],
)
def test_a_module_loads_only_what_it_needs(module: str, unwanted: set[str]) -> None:
    program = f"import sys, opentera_twisted.{module}; print(*sys.modules, file=sys.stderr)"
    modules = ran(program)
    assert f"opentera_twisted.{module}" in modules
    assert not unwanted & modules


@pytest.mark.parametrize(("scheme", "loads_tls"), [("redis", False), ("rediss", True)])
def test_a_command_loads_tls_for_a_tls_url_only(scheme: str, loads_tls: bool) -> None:
    options = ("--redis", f"{scheme}://127.0.0.1:{free_port()}", "--timeout", "0.1")
    modules = ran(_PROGRAM, *options, "get", "x", status=1)
    assert "twisted.internet.reactor" in modules
    assert ("OpenSSL.SSL" in modules) is loads_tls
    assert not modules & {"autobahn", "prometheus_client"}
