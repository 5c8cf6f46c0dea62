"""The contract of every kind of bus: one class of tests, run against each kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from twisted.internet.defer import Deferred, gatherResults

from opentera_twisted import (
    ArgumentsRejected,
    CallInterrupted,
    CallTimeout,
    CommandFailed,
    Delivery,
    InvalidArgument,
    InvalidTopic,
    NoResponder,
    ProcedureError,
    ProcedureFailed,
    Procedures,
    UnknownProcedure,
    WrongType,
)
from opentera_twisted.messages import TeraEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import unpack
from tests.helpers.support import UUID, Collector, until


def procedures(waiting: list[Deferred[None]] | None = None) -> Procedures:
    """Procedures of each kind; ``waits`` waits for a Deferred that it adds to ``waiting``."""
    declared = Procedures(version="1.2", doc="Tries all.")

    @declared.expose
    def same(value: bool | float | str | bytes) -> bool | int | float | str:
        """Gives it back."""
        return value.hex() if isinstance(value, bytes) else value

    @declared.expose
    async def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    @declared.expose(thread=True)
    def in_a_thread(text: str) -> str:
        """Runs in a thread."""
        return text.upper()

    @declared.expose
    def fails(kind: str) -> NoReturn:
        """Raises."""
        raise ProcedureError("so says the server") if kind == "says" else ZeroDivisionError("no")

    @declared.expose
    async def waits() -> None:
        """Waits."""
        assert waiting is not None
        waiting.append(Deferred())
        await waiting[-1]

    return declared


class BusContract:
    """Mixin for a test case that makes its kind of bus.

    Two buses of one test stand for two programs.
    """

    counts_patterns = True
    """True if subscribers to patterns count as receivers at any node."""

    async def make(self) -> Any:
        """Return a connected bus that is stopped at the end of the test."""
        raise NotImplementedError

    async def make_with_all_rights(self) -> Any:
        """Return a connected bus whose user may run every command of Redis."""
        return await self.make()

    async def keys(self, bus: Any) -> Any:
        """Return the session keys of a bus: an object with ``issue`` and ``redeem``."""
        raise NotImplementedError

    async def push(self, name: str, value: bytes) -> None:
        """Store a list under a name."""
        raise NotImplementedError

    async def break_links(self) -> None:
        """Break and restore the links of all buses."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def flushLoggedErrors(self, *kinds: type[BaseException]) -> list[Any]:
            """Return logged errors, as trial does."""

    async def refused(
        self, error: type[Exception], function: Callable[[], Awaitable[object]]
    ) -> Exception:
        """Assert that a call is refused, at once or later."""
        with pytest.raises(error) as caught:
            await function()
        return caught.value

    async def test_a_value_set_by_one_program_is_read_by_another(self) -> None:
        one, other = await self.make(), await self.make()
        assert await one.variables.set("a", b"\x00\xff123") is True
        assert await other.variables.get("a") == b"\x00\xff123"
        assert await one.variables.set("a", "Zoé") is True
        assert await other.variables.get("a") == "Zoé".encode()
        assert await one.variables.get("nothing") is None
        assert await one.variables.delete("a", "nothing") == 1
        assert await one.variables.get("a") is None

    async def test_a_variable_with_a_ttl_ends(self) -> None:
        bus = await self.make()
        await bus.variables.set("a", "x", ttl=0.05)
        told = Collector()
        await bus.variables.watch("a", lambda _, value: told(value))
        await told.wait(1)
        while told.items[-1] is not None:
            await told.wait(len(told.items) + 1)
        assert await bus.variables.get("a") is None

    async def test_conditional_writes_respect_their_condition(self) -> None:
        variables = (await self.make()).variables
        assert await variables.set("a", "1", only_if_absent=True) is True
        assert await variables.set("a", "2", only_if_absent=True) is False
        assert await variables.compare_and_set("a", "0", "3") is False
        assert await variables.compare_and_set("a", "1", "3") is True
        assert await variables.compare_and_set("a", None, "4") is False
        assert await variables.compare_and_set("b", None, "4", ttl=100) is True
        assert await variables.get("a") == b"3"

    async def test_redis_commands_have_txredisapis_names_and_bytes(self) -> None:
        commands = (await self.make_with_all_rights()).redis
        assert await commands.rpush("l", [b"\xff", "Zoé", 3]) == 3
        assert await commands.lrange("l", 0, -1) == [b"\xff", "Zoé".encode(), b"3"]
        assert await commands.ltrim("l", 1, -1) == b"OK"
        assert await commands.lpush("l", b"first") == 3
        assert await commands.lpop("l") == b"first"
        assert await commands.rpop("l") == b"3"
        assert await commands.llen("l") == 1
        assert await commands.incr("n", 5) == 5
        assert await commands.decr("n") == 4
        assert await commands.expire("n", 100) == 1
        assert await commands.ttl("n") in {99, 100}
        assert await commands.mget(["n", "{n}othing"]) == [b"4", None]  # in one slot
        assert await commands.execute_command("exists", "n") == 1
        assert await commands.lpop("nothing") is None
        await self.refused(WrongType, lambda: commands.get("l"))
        await self.refused(CommandFailed, lambda: commands.execute_command("NONSENSE"))

    async def test_redis_commands_of_own_connections_are_refused(self) -> None:
        commands = (await self.make_with_all_rights()).redis
        for name, reason in (
            ("blpop", "blocks the connection"),
            ("multi", "run a script with eval"),
            ("pipeline", "gather their results"),
            ("select", "would change or end the connection"),
            ("subscribe", "use bus.subscribe"),
        ):
            error = await self.refused(InvalidArgument, lambda name=name: getattr(commands, name)())  # type: ignore[misc]
            assert reason in str(error)
        for mistake in (
            lambda: commands.execute_command("BLPOP", "l", 0),
            lambda: commands.execute_command("xread", "BLOCK", 0, "STREAMS", "s", "$"),
            commands.execute_command,
            lambda: commands.rpush("l", None),
            lambda: commands.rpush("l", True),
            lambda: commands.bitcount("n", start=1),
        ):
            await self.refused(InvalidArgument, mistake)
        await self.refused(AttributeError, lambda: commands.hsett("h", "f", "v"))

    async def test_a_list_cannot_be_read_as_a_variable(self) -> None:
        bus = await self.make()
        await self.push("l", b"x")
        await self.refused(WrongType, lambda: bus.variables.get("l"))

    async def test_a_watch_reports_the_present_and_each_newest_value(self) -> None:
        one, other = await self.make(), await self.make()
        told = Collector()
        watch = await one.variables.watch("a", lambda name, value: told((name, value)))
        await told.wait(1)
        await other.variables.set("a", "1")
        await told.wait(2)
        await other.variables.delete("a")
        assert await told.wait(3) == [("a", None), ("a", b"1"), ("a", None)]
        await watch.cancel()
        await other.variables.set("a", "2")
        await one.variables.get("a")
        assert len(told.items) == 3

    async def test_a_subscriber_gets_each_payload_as_it_is_and_in_order(self) -> None:
        one, other = await self.make(), await self.make()
        got = Collector()
        await one.subscribe("t", got)
        payloads = [b"123", b"", b"\x00\xff", "Zoé".encode(), *(b"%d" % n for n in range(200))]
        for payload in payloads:
            assert await other.publish("t", payload) == 1
        assert await got.wait(len(payloads)) == [
            Delivery("t", None, payload) for payload in payloads
        ]
        assert await other.publish("nobody", "x") == 0

    async def test_a_pattern_fits_as_in_redis(self) -> None:
        bus = await self.make()
        got = Collector()
        for pattern in ("a.*.z", "b?", "c[0-9]", r"d\*"):
            await bus.subscribe_pattern(pattern, got)
        fitting = ["a.x.z", "a.x.y.z", "bx", "c5", "d*"]
        for topic in ("a.z", "b", "bxx", "cx", "dx", *fitting):
            count = await bus.publish(topic, b"")
            assert count == (topic in fitting) or not self.counts_patterns
        # Ordered per subscription only: a BlockingBus calls handlers in threads.
        patterns = {delivery.topic: delivery.pattern for delivery in await got.wait(len(fitting))}
        assert sorted(patterns) == sorted(fitting)
        assert patterns["a.x.z"] == "a.*.z"

    async def test_a_topic_ends_with_its_last_handler(self) -> None:
        bus = await self.make()
        first, second = Collector(), Collector()
        one = await bus.subscribe("t", first)
        two = await bus.subscribe("t", second)
        assert await bus.publish("t", "1") == 1
        await first.wait(1)
        await second.wait(1)
        await one.cancel()
        assert await bus.publish("t", "2") == 1
        await second.wait(2)
        await two.cancel()
        assert await bus.publish("t", "3") == 0
        assert len(first.items) == 1

    async def test_a_handler_that_raises_is_logged_and_others_run(self) -> None:
        bus = await self.make()
        got = Collector()

        def raises(_: Delivery) -> None:
            raise ZeroDivisionError

        await bus.subscribe("t", raises)
        await bus.subscribe("t", got)
        await bus.publish("t", "1")
        await bus.publish("t", "2")
        await got.wait(2)
        logged: list[Any] = []

        async def look() -> int:
            logged.extend(self.flushLoggedErrors(ZeroDivisionError))
            await bus.variables.get("a")
            return len(logged)

        await until(look, lambda count: count == 2)

    async def test_events_and_messages_travel_in_their_envelopes(self) -> None:
        bus = await self.make()
        events, messages = Collector(), Collector()
        sent = UserEvent(user_uuid=UUID)
        await bus.subscribe("module.A.events", events)
        await bus.subscribe("module.A.messages", messages)
        assert await bus.publish_event("module.A.events", sent) == 1
        assert await bus.send_module_message("module.A.messages", sent, source="service.B") == 1
        (event,), (message,) = await events.wait(1), await messages.wait(1)
        assert [unpack(packed) for packed in TeraEvent.FromString(event.payload).events] == [sent]
        received = TeraModuleMessage.FromString(message.payload)
        assert (received.head.source, unpack(received.data[0])) == ("service.B", sent)

    async def test_a_call_returns_the_procedures_result(self) -> None:
        one, other = await self.make(), await self.make()
        server = await one.serve_service("S", procedures(), uuid=UUID)
        for value in (True, 0, -(2**63), 2**64 - 1, 1.5, "Zoé"):
            assert await other.call_service("S", "same", value) == value
        assert await other.call_service(UUID, "same", b"\xff") == "ff"
        assert await other.call_service("S", "add", 1) == 2
        assert await other.call_service("S", "in_a_thread", "x") == "X"
        await server.stop()
        await self.refused(NoResponder, lambda: other.call_service("S", "add", 1))

    async def test_many_calls_at_once_each_get_their_own_answer(self) -> None:
        one, other = await self.make(), await self.make()
        await one.serve_module("M", procedures())
        assert await other.call_server("module.M", "add", 1, 2) == 3
        answers = await gatherResults([other.call("M", "add", n, n) for n in range(100)])
        assert answers == [2 * n for n in range(100)]

    async def test_every_failure_of_a_call_has_its_exception(self) -> None:
        bus = await self.make()
        await bus.serve_service("S", procedures())
        for error, call in (
            (NoResponder, ("T", "add", 1)),
            (UnknownProcedure, ("S", "nothing")),
            (ArgumentsRejected, ("S", "add", "one")),
            (ArgumentsRejected, ("S", "add")),
            (ProcedureFailed, ("S", "fails", "says")),
            (ProcedureFailed, ("S", "fails", "not")),
        ):
            caught = await self.refused(error, lambda call=call: bus.call_service(*call))  # type: ignore[misc]
            assert type(caught) is error
        said = await self.refused(ProcedureFailed, lambda: bus.call_service("S", "fails", "says"))
        assert "so says the server" in str(said)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_a_call_that_is_not_answered_ends_with_its_timeout(self) -> None:
        bus = await self.make()
        waiting: list[Deferred[None]] = []
        await bus.serve_service("S", procedures(waiting))
        running = Collector()
        await bus.subscribe("service.S.rpc", running)
        caught = await self.refused(
            CallTimeout, lambda: bus.call_service("S", "waits", timeout=0.05)
        )
        assert isinstance(caught, CallTimeout)
        assert caught.seconds == 0.05
        await running.wait(1)
        waiting[0].callback(None)

    async def test_servers_are_found_described_and_called_by_name(self) -> None:
        one, other = await self.make(), await self.make()
        await one.serve_service("S", procedures())
        await other.serve_service("S", procedures())
        assert [listening.server for listening in await other.services()] == ["service.S"]
        description = await other.describe("service.S")
        assert (description.version, description.doc) == ("1.2", "Tries all.")
        assert {procedure.name for procedure in description.procedures} == {
            "same", "add", "in_a_thread", "fails", "waits",
        }  # fmt: skip
        proxy = await other.proxy("service.S")
        assert await proxy.add(b=2, a=1) == 3
        await self.refused(InvalidArgument, lambda: proxy.add("one"))
        assert await other.call_server("service.S", "add", 1) == 2
        answers = await other.call_all("service.S", "add", 1, timeout=60)
        assert [answer.value for answer in answers] == [2, 2]

    async def test_nobody_is_online_without_a_gateway(self) -> None:
        bus = await self.make()
        assert await bus.presence.online("user") == []
        assert await bus.presence.everyone() == {"user": [], "participant": [], "device": []}
        assert await bus.presence.disconnect("user", UUID) == 0
        await self.refused(InvalidArgument, lambda: bus.presence.online("robot"))
        await self.refused(InvalidArgument, lambda: bus.presence.disconnect("user", "Zoe"))

    async def test_a_key_logs_in_exactly_once(self) -> None:
        keys = await self.keys(await self.make())
        key = await keys.issue("user", UUID, name="Zoé", topics=["t"])
        assert await keys.redeem("device", key) is None
        results = await gatherResults([keys.redeem("user", key) for _ in range(20)])
        (identity,) = [result for result in results if result is not None]
        assert (identity.kind, identity.uuid) == ("user", UUID)
        assert (identity.name, identity.topics) == ("Zoé", ("t",))
        plain = await keys.redeem("device", await keys.issue("device", UUID))
        assert (plain.uuid, plain.name) == (UUID, "")

    async def test_other_keys_of_redis_stay_untouched(self) -> None:
        bus = await self.make()
        keys = await self.keys(bus)
        name = "0f" * 64
        await bus.variables.set("UserTokenAPIKey", UUID, ttl=100)
        for value, ttl in ((UUID, None), ("secret", 100), ('{"uuid": 1}', 100)):
            await bus.variables.set(name, value, ttl=ttl)
            assert await keys.redeem("user", name) is None
            assert await bus.variables.get(name) == value.encode()
        assert await keys.redeem("user", "UserTokenAPIKey") is None
        assert await bus.variables.get("UserTokenAPIKey") == UUID.encode()

    async def test_a_break_interrupts_calls_and_reports_a_gap(self) -> None:
        bus = await self.make()
        got, gaps = Collector(), Collector()
        await bus.subscribe("t", got, on_gap=gaps)
        waiting: list[Deferred[None]] = []
        await bus.serve_service("S", procedures(waiting))
        running = Collector()
        await bus.subscribe("service.S.rpc", running)
        call = bus.call_service("S", "waits")
        await running.wait(1)
        await self.break_links()
        await self.refused(CallInterrupted, lambda: call)
        waiting[0].callback(None)
        await gaps.wait(1)
        await bus.connected()
        assert await bus.publish("t", "x") == 1
        assert await got.wait(1) == [Delivery("t", None, b"x")]
        assert await bus.call_service("S", "add", 1) == 2

    async def test_mistakes_are_refused(self) -> None:
        bus = await self.make()
        for error, mistake in (
            (InvalidTopic, lambda: bus.publish("", b"")),
            (InvalidTopic, lambda: bus.subscribe("", print)),
            (InvalidTopic, lambda: bus.call("a*", "b")),
            (InvalidTopic, lambda: bus.call_service("service.S", "f")),
            (InvalidTopic, lambda: bus.call_server("S", "f")),
            (InvalidTopic, lambda: bus.serve_service("service.S", procedures([]))),
            (InvalidArgument, lambda: bus.publish("t", 1)),
            (InvalidArgument, lambda: bus.subscribe("t", "no function")),
            (InvalidArgument, lambda: bus.call_service("S", "f", None)),
            (InvalidArgument, lambda: bus.call_service("S", "f", timeout=0)),
            (InvalidArgument, lambda: bus.variables.set("a", "1", ttl=0)),
        ):
            await self.refused(error, mistake)
