"""The examples in the docstrings of public names, run as a reader would type them."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from doctest import ELLIPSIS, DocTestParser, Example, OutputChecker
from io import StringIO
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread

import opentera_twisted
from opentera_twisted import Bus, Procedures, SessionKeys, messages
from opentera_twisted.aio import AsyncioBus
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.client import BlockingGatewayClient
from opentera_twisted.gateway import Gateway
from opentera_twisted.opentera import LoggingClient, RedisClient, RedisRPCClient
from opentera_twisted.testing import MemoryBus
from tests.helpers.support import ROOT, UUID, RedisTestCase, start_bus

PACKAGE: Final = "opentera_twisted"

PUBLIC: Final = (
    "",
    *("aio", "blocking", "client", "embedded", "gateway", "logs", "messages"),
    *("messages.envelopes", "opentera", "redis_commands", "testing", "topics", "user_manager"),
    "variables",
)
"""Modules that docs/reference/api.md and stability.md name; "" is the package."""

IN_THREADS: Final = {"aio", "blocking", "opentera"}
"""Modules whose examples run outside the reactor's thread, in an asyncio event loop."""

ON_A_SERVER: Final = {"client", "user_manager"}
"""Modules whose examples run on a `Bus`; those of others run on a `MemoryBus`."""


def full_name(module: str) -> str:
    """Return the name under which a module is imported."""
    return f"{PACKAGE}.{module}" if module else PACKAGE


def tree_of(module: str) -> ast.Module:
    """Parse a module, given its full name."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text())


def public_names(module: str) -> list[str]:
    """List ``__all__``; without it, the classes and functions without an underscore."""
    listed = getattr(importlib.import_module(full_name(module)), "__all__", None)
    defined = (
        statement.name
        for statement in tree_of(full_name(module)).body
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef))
    )
    return listed or [name for name in defined if not name.startswith("_")]


def docstring(module: str, name: str) -> str:
    """Return the docstring of a name; that of the module for a generated message."""
    tree = tree_of(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            source = str(node.module)
            if source.endswith("_pb2"):
                return _with_name(ast.get_docstring(tree) or "", name)
            return docstring(source, name)
    for statement, following in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) and statement.name == name:
            return ast.get_docstring(statement) or ""
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return _text(following)
    raise AssertionError(f"{module} does not define {name}")


def _text(statement: ast.stmt) -> str:
    """Return the text of a statement that is a string, as after an attribute."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    text = value.value if isinstance(value, ast.Constant) else None
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def _with_name(text: str, name: str) -> str:
    """Return a docstring if one of its examples contains the name."""
    return text if any(name in words(example) for example in examples_in(text)) else ""


def words(example: Example) -> list[str]:
    """List the words of an example."""
    return re.findall(r"\w+", example.source)


def examples_in(text: str) -> list[Example]:
    return DocTestParser().get_examples(text)


class ExampleTests(RedisTestCase):
    """One test per public name; see docs/reference/api.md for the names in the examples."""

    async def run_example(self, module: str, name: str) -> None:
        examples = examples_in(docstring(full_name(module), name))
        assert examples, f"the docstring of {name} has no example: add one that a reader can run"
        await deferLater(reactor, 0)  # until now, trial has not started the reactor
        ports = {"6379": self.server.port}
        names: dict[str, Any] = {"UUID": UUID}
        for source in (opentera_twisted, messages, importlib.import_module(full_name(module))):
            names |= {key: getattr(source, key) for key in getattr(source, "__all__", vars(source))}
        if module in ON_A_SERVER:
            bus: Any = start_bus(self, self.server.url)
            if module == "client":
                ports["40085"] = await self.start_gateway(bus)
                names["supply_key"] = key_supplier(bus, blocking="Blocking" in name)
        elif module in IN_THREADS:
            kind = AsyncioBus if module == "aio" else BlockingBus
            bus = kind(self.server.url)
            server = start_bus(self, self.server.url)
            await server.serve_service("Sum", sums())
        else:
            bus = MemoryBus()
            await bus.serve_service("Sum", sums())
        names["bus"] = bus
        running = run(examples, names, ports)
        try:
            if module in IN_THREADS or "Blocking" in name:
                await deferToThread(asyncio.run, running)
            else:
                await running
        finally:
            for value in list(names.values()):
                if value is not bus or module not in ON_A_SERVER:  # its cleanup is last
                    await end(value)
            self.flushLoggedErrors(ZeroDivisionError)

    async def start_gateway(self, bus: Bus) -> int:
        """Start a gateway; return its port."""
        gateway = Gateway(bus)
        gateway.startService()
        self.addCleanup(gateway.stopService)
        endpoint = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(gateway.factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number


def key_supplier(bus: Bus, *, blocking: bool) -> Callable[[], Any]:
    """Return a function that issues a session key of a device."""

    def issue() -> Deferred[str]:
        return SessionKeys(bus).issue("device", UUID)

    def issue_and_wait() -> str:
        wait: Any = blockingCallFromThread  # its types need Deferred[Never]
        key: str = wait(reactor, issue)
        return key

    return issue_and_wait if blocking else issue


def sums() -> Procedures:
    """Return the procedures of the service ``Sum`` of the examples."""
    procedures = Procedures(version="1.0")

    @procedures.expose
    def add(a: int, b: int = 0) -> int:
        """Add two numbers."""
        return a + b

    return procedures


async def run(examples: list[Example], names: dict[str, Any], ports: dict[str, int]) -> None:
    """Type each example, with the ports of this test, and compare its output."""
    for example in examples:
        source = example.source
        for named, port in ports.items():
            source = re.sub(rf"\b{named}\b", str(port), source)
        printed, error = await typed(source, names)
        expected = example.want if example.exc_msg is None else example.exc_msg
        got = printed if error is None else traceback.format_exception_only(error)[-1]
        if error is not None and example.exc_msg is None:
            raise error
        assert OutputChecker().check_output(expected, got, ELLIPSIS), (
            f"{example.source}expected {expected}got {got}"
        )


async def typed(source: str, names: dict[str, Any]) -> tuple[str, Exception | None]:
    """Run one statement as at a prompt that allows ``await``; return its output and error."""
    output = StringIO()
    with redirect_stdout(output), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from the names of existing programs
        try:
            code = compile(source, "example", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
        except Exception as error:  # noqa: BLE001 (compared with the expected one)
            return output.getvalue(), error
    return output.getvalue(), None


async def end(value: Any) -> None:
    """Stop what an example has started."""
    if inspect.isclass(value):
        return
    if isinstance(value, Service):
        if value.running:
            await maybeDeferred(value.stopService)
    elif isinstance(value, RedisClient):
        await value.redisClose()
    elif isinstance(value, AsyncioBus):
        await deferToThread(asyncio.run, value.close())
    elif isinstance(value, RedisRPCClient):
        await deferToThread(value._bus.close)
    elif isinstance(value, (BlockingBus, BlockingGatewayClient, LoggingClient)):
        await deferToThread(value.close)


def _test_of(module: str, name: str) -> Callable[[ExampleTests], Any]:
    async def test(self: ExampleTests) -> None:
        await self.run_example(module, name)

    return test


for _module in PUBLIC:
    for _name in public_names(_module):
        _test = f"test_{_module}_{_name}".replace(".", "_").replace("__", "_")
        setattr(ExampleTests, _test, _test_of(_module, _name))
