"""Calls between this package and OpenTera's own callers, modules and services, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opentera_twisted import Bus, Procedures
from opentera_twisted.errors import CallTimeout, NoResponder, ProcedureFailed, UnknownProcedure
from opentera_twisted.messages import TeraEvent, UserEvent
from opentera_twisted.messages.envelopes import unpack
from tests.helpers.processes import Process
from tests.helpers.support import Collector, folder_of, shared_server
from tests.helpers.traces import recorder
from tests.opentera_package.environments import Environment, ProgramTestCase, program

LONG = 300_000
ARGUMENTS: list[Any] = [
    *(True, False, 0, 1, -1, 2**63 - 1, -(2**63)),
    *(0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308),
    *("", "Zoé 🎉 \0 \u2028", "x" * LONG),
    *(b"", b"\x00\xff", b"x" * LONG),
]
SERVERS = ("module.TheirModule", "service.TheirService")


def shown(argument: Any) -> list[Any]:
    """Return an argument as the servers of these tests do: type and value as JSON."""
    return [type(argument).__name__, argument.hex() if type(argument) is bytes else argument]


class CallingTheirs(ProgramTestCase):
    __test__ = False

    may_block = False
    program: Process

    @classmethod
    def setUpClass(cls) -> None:
        """Start the program, for all tests of the class."""
        server = shared_server()
        with server.client() as client:
            client.set("ServiceTokenAPIKey", "secret")
        cls.program = program(cls.environment, "server.py", server.port, blocking=cls.may_block)
        cls.program.wait_for("it has read its settings")

    @classmethod
    def tearDownClass(cls) -> None:
        """End the program."""
        cls.program.kill()

    async def served(self) -> Bus:
        """Return a bus once the program's module and service answer."""
        bus = await self.bus()
        while True:
            try:
                for server in ("module.TheirModule", "service.TheirService", "service.their-uuid"):
                    assert await self.call(bus, server, "nothing") is None
            except NoResponder:
                assert not self.program.has_ended, self.program.output
            else:
                return bus

    async def call(self, bus: Bus, server: str, procedure: str, *arguments: Any) -> Any:
        owner, _, name = server.partition(".")
        ask = bus.call if owner == "module" else bus.call_service
        return await ask(name, procedure, *arguments, timeout=60)

    async def test_arguments_of_all_types_arrive(self) -> None:
        bus = await self.served()
        for server in SERVERS:
            arguments = [*ARGUMENTS, 2**64 - 1]
            returned = await self.call(bus, server, "echo", *arguments)
            assert json.dumps(returned) == json.dumps([*map(shown, arguments)])
            assert await self.call(bus, server, "echo") == []
            assert await self.call(bus, server, "long", LONG) == "é" * LONG

    async def test_a_traced_request_is_answered(self) -> None:
        recorder()
        await self.served()
        bus = await self.bus(tracing=True)
        seen = Collector()
        for number, server in enumerate(SERVERS, 1):
            await bus.subscribe(f"{server}.rpc", seen)
            returned = await self.call(bus, server, "echo", *ARGUMENTS)
            assert json.dumps(returned) == json.dumps([*map(shown, ARGUMENTS)])
            assert b"\x82\xb5\x18\x3700-" in (await seen.wait(number))[-1].payload

    async def test_an_exception_fails_the_call(self) -> None:
        bus = await self.served()
        for server in SERVERS:
            with pytest.raises(ProcedureFailed):
                await self.call(bus, server, "fail")

    async def test_their_messages_logs_and_variables_arrive(self) -> None:
        bus = await self.served()
        told = Collector()
        await bus.subscribe("service.Ours.events", told)
        for number, server in enumerate(SERVERS, 1):
            assert await self.call(bus, server, "tell", "service.Ours.events") is True
            (*_, delivery) = await told.wait(number)
            event = TeraEvent.FromString(delivery.payload)
            assert unpack(event.events[0]) == UserEvent(user_uuid="somebody")
            assert await self.call(bus, server, "stored", "name") is True
            while await bus.variables.get("name") != b"stored":
                pass
            assert await bus.variables.delete("name") == 1
        while self.redis.llen("log.warning") < 2 or self.redis.llen("log.info") < 2:
            await bus.variables.get("name")

    async def test_a_module_message_is_answered_with_an_event(self) -> None:
        bus = await self.served()
        got = Collector()
        await bus.subscribe("module.TheirModule.events", got)
        event = UserEvent(user_uuid="Zoé")
        dest = "module.TheirModule.messages"
        assert await bus.send_module_message(dest, event, source="module.Ours") == 1
        (delivery,) = await got.wait(1)
        assert unpack(TeraEvent.FromString(delivery.payload).events[0]) == event

    async def test_a_service_has_the_procedures_of_every_service(self) -> None:
        bus = await self.served()
        called = await self.call(bus, "service.TheirService", "session_type_config", 1)
        assert called == {}


@pytest.mark.xdist_group("theirs")
class TestCallingTheirs(CallingTheirs):
    __test__ = True

    async def test_an_unknown_procedure_is_not_answered(self) -> None:
        bus = await self.served()
        with pytest.raises(CallTimeout):
            await bus.call("TheirModule", "unknown", timeout=0.1)

    async def test_a_read_in_the_reactor_thread_returns(self) -> None:
        bus = await self.served()
        await bus.variables.set("name", "Zoé")
        assert await self.call(bus, "module.TheirModule", "read", "name") == "Zoé"


@pytest.mark.xdist_group("moved")
class TestCallingMoved(CallingTheirs):
    __test__ = True
    environment: Environment = "moved"

    async def test_an_unknown_procedure_of_a_module_is_an_error(self) -> None:
        bus = await self.served()
        with pytest.raises(UnknownProcedure):
            await self.call(bus, "module.TheirModule", "unknown")

    async def test_a_read_in_the_reactor_thread_is_refused(self) -> None:
        bus = await self.served()
        await bus.variables.set("name", "Zoé")
        with pytest.raises(ProcedureFailed, match="InReactorThread"):
            await self.call(bus, "module.TheirModule", "read", "name")


@pytest.mark.xdist_group("blocking")
class TestCallingMovedThatMayBlock(CallingTheirs):
    __test__ = True
    environment: Environment = "moved"
    may_block = True

    async def test_a_read_in_the_reactor_thread_returns(self) -> None:
        bus = await self.served()
        await bus.variables.set("name", "Zoé")
        for server in SERVERS:
            assert await self.call(bus, server, "read", "name") == "Zoé"


class CalledByTheirs(ProgramTestCase):
    __test__ = False

    async def calls(self, *calls: tuple[str, str, str, list[Any]]) -> list[Any]:
        """Run the program and return the results of our servers."""
        bus = await self.bus()
        procedures = Procedures()

        @procedures.expose
        def echo(*arguments: bool | float | str | bytes) -> Any:
            return [*map(shown, arguments)]

        @procedures.expose
        def add(a: int, b: int) -> int:
            return a + b

        @procedures.expose
        def fail() -> None:
            raise ValueError("hush")

        @procedures.expose
        def nothing() -> None:
            return None

        @procedures.expose
        def nested() -> Any:
            return {"list": [None, True, 0.1, "Zoé 🎉"], "empty": {}}

        @procedures.expose
        def long(characters: int) -> str:
            return "é" * characters

        await bus.serve_module("Ours", procedures)
        await bus.serve_service("Ours", procedures, uuid="our-uuid")
        file = folder_of(self) / "calls.json"
        file.write_text(json.dumps(calls))
        results: list[Any] = await self.results("caller.py", file)
        self.flushLoggedErrors(ValueError)
        return results

    async def test_arguments_and_results_of_all_types_arrive(self) -> None:
        sent = [{"bytes": value.hex()} if type(value) is bytes else value for value in ARGUMENTS]
        servers = [("module", "Ours"), ("service", "Ours"), ("service", "our-uuid")]
        results = await self.calls(
            *[(*server, "echo", sent) for server in servers],
            ("module", "Ours", "echo", []),
            ("service", "Ours", "nested", []),
            ("service", "Ours", "long", [LONG]),
        )
        expected = json.dumps([*map(shown, ARGUMENTS)])
        assert [json.dumps(result) for result in results[:3]] == [expected] * 3
        assert results[3:] == [
            [],
            {"list": [None, True, 0.1, "Zoé 🎉"], "empty": {}},
            "é" * LONG,
        ]

    async def test_calls_without_a_value_give_none(self) -> None:
        module = ("module", "Ours")
        results = await self.calls(
            (*module, "nothing", []),
            (*module, "fail", []),
            (*module, "unknown", []),
            (*module, "add", [1]),
            (*module, "add", [1, 2]),
        )
        assert results == [None, None, None, None, 3]


class TestCalledByTheirs(CalledByTheirs):
    __test__ = True

    async def test_an_argument_of_none_is_left_out(self) -> None:
        assert await self.calls(("module", "Ours", "echo", [1, None, "a"])) == [
            [["int", 1], ["str", "a"]]
        ]


class TestCalledByMoved(CalledByTheirs):
    __test__ = True
    environment: Environment = "moved"

    async def test_an_argument_of_none_is_refused(self) -> None:
        results = await self.calls(("module", "Ours", "echo", [1, None, "a"]))
        assert results == [{"raised": "InvalidArgument"}]
