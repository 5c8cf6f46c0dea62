"""The state machine of a connection, in memory and under a Clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from opentera_twisted import CommandFailed, ConnectionLost
from opentera_twisted.link.back_off import LONGEST_DELAY, BackOff
from opentera_twisted.link.connection import State
from opentera_twisted.link.factory import (
    PING_INTERVAL,
    PING_TIMEOUT,
    ConnectionFactory,
)
from opentera_twisted.link.protocol import CHECKS, CommandProtocol

PING = b"*1\r\n$4\r\nPING\r\n"


class Transport(StringTransport):
    """A transport that loses its connection on request, in a later turn."""

    disconnected = False

    def loseConnection(self) -> None:
        self.disconnected = True

    def abortConnection(self) -> None:
        self.disconnected = True

    def written(self) -> bytes:
        data: bytes = self.value()
        self.clear()
        return data


@implementer(IStreamClientEndpoint)
class Endpoint:
    """An endpoint whose attempts end on request."""

    def __init__(self) -> None:
        self.attempts: list[Deferred[IProtocol]] = []
        self.factory: Any = None
        self.transport = Transport()
        self.protocol: CommandProtocol | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.factory = protocolFactory
        self.attempts.append(Deferred(self.attempts.remove))
        return self.attempts[-1]

    def succeed(self) -> CommandProtocol:
        self.protocol = cast("CommandProtocol", self.factory.buildProtocol(None))
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        self.attempts.pop().callback(self.protocol)
        return self.protocol

    def lose(self) -> None:
        assert self.protocol is not None
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(Failure(ConnectionLost("closed")))

    def fail(self) -> None:
        self.attempts.pop().errback(Failure(ConnectError("refused")))


class Harness:
    """A connection with its dependencies, driven by the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.states: list[State] = ["idle"]
        self.causes: list[str] = []
        self.steps: list[Deferred[None]] = []
        self.factory = ConnectionFactory(self.clock, CommandProtocol, self.prepare, self.entered)

    async def prepare(self, protocol: CommandProtocol, authenticated: Callable[[], None]) -> None:
        await self.step()
        authenticated()
        await self.step()

    def step(self) -> Deferred[None]:
        self.steps.append(Deferred())
        return self.steps[-1]

    def entered(self, state: State, cause: Failure | None) -> None:
        self.states.append(state)
        if cause is not None:
            self.causes.append(cause.getErrorMessage())

    def make_ready(self) -> CommandProtocol:
        self.factory.startConnecting(self.endpoint)
        protocol = self.endpoint.succeed()
        self.steps.pop().callback(None)
        self.steps.pop().callback(None)
        return protocol


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.harness = Harness()
        self.clock = self.harness.clock
        self.endpoint = self.harness.endpoint

    def test_a_connection_is_ready_after_login_and_restore(self) -> None:
        self.harness.make_ready()
        expected = ["idle", "connecting", "authenticating", "restoring", "ready"]
        self.assertEqual(self.harness.states, expected)

    def test_delays_between_attempts_grow(self) -> None:
        self.harness.factory.startConnecting(self.endpoint)
        waits = []
        for _ in range(10):
            self.endpoint.fail()
            (call,) = self.clock.getDelayedCalls()
            waits.append(call.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertLess(waits[0], 0.2)
        self.assertLess(waits[0], waits[3])
        self.assertLess(waits[3], waits[9])
        self.assertLessEqual(max(waits), LONGEST_DELAY + 0.001)
        self.assertEqual(self.harness.causes, ["An error occurred while connecting: refused."] * 10)

    def test_a_failed_login_closes_the_connection_and_is_retried(self) -> None:
        self.harness.factory.startConnecting(self.endpoint)
        self.endpoint.succeed()
        self.harness.steps.pop().errback(Failure(CommandFailed("AUTH", "WRONGPASS no")))
        self.assertTrue(self.endpoint.transport.disconnected)
        self.endpoint.lose()
        self.assertEqual(self.harness.states[-1], "down")
        self.assertEqual(self.harness.causes, ["Redis refused AUTH: WRONGPASS no"])
        self.clock.advance(1)
        self.assertEqual(self.harness.states[-1], "connecting")

    def test_a_late_preparation_result_is_ignored(self) -> None:
        self.harness.factory.startConnecting(self.endpoint)
        self.endpoint.succeed()
        late = self.harness.steps.pop()
        self.endpoint.lose()
        self.clock.advance(1)
        self.endpoint.succeed()
        late.callback(None)
        self.assertEqual(self.harness.states[-1], "authenticating")

    def test_success_resets_the_delays(self) -> None:
        self.harness.factory.startConnecting(self.endpoint)
        for _ in range(8):
            self.endpoint.fail()
            self.clock.advance(LONGEST_DELAY)
        self.endpoint.succeed()
        self.harness.steps.pop().callback(None)
        self.harness.steps.pop().callback(None)
        self.endpoint.lose()
        self.clock.advance(0.2)
        self.assertEqual(self.harness.states[-1], "connecting")

    def test_a_server_that_answers_no_ping_is_dropped(self) -> None:
        self.harness.make_ready()
        transport = self.endpoint.transport
        self.clock.advance(PING_INTERVAL)
        self.assertEqual(transport.written(), PING)
        self.clock.pump([PING_TIMEOUT / CHECKS] * CHECKS)
        self.assertTrue(transport.disconnected)
        self.assertLess(PING_INTERVAL + PING_TIMEOUT, 15)

    def test_a_late_reactor_is_not_a_silent_server(self) -> None:
        protocol = self.harness.make_ready()
        transport = self.endpoint.transport
        self.clock.advance(PING_INTERVAL)
        # A handler blocks: all timers are late, and the answer waits in the socket.
        self.clock.advance(PING_TIMEOUT + 1)
        self.assertFalse(transport.disconnected)
        protocol.dataReceived(b"+PONG\r\n")
        self.clock.advance(PING_TIMEOUT)
        self.assertFalse(transport.disconnected)
        self.assertEqual(transport.written(), PING + PING)

    def test_a_server_that_answers_pings_is_kept(self) -> None:
        protocol = self.harness.make_ready()
        transport = self.endpoint.transport
        for answer in (b"+PONG\r\n", b"-LOADING wait\r\n"):
            self.clock.advance(PING_INTERVAL)
            self.assertEqual(transport.written(), PING)
            protocol.dataReceived(answer)
        self.clock.advance(PING_INTERVAL - 0.1)
        self.assertFalse(transport.disconnected)

    def test_stopping_leaves_nothing_in_any_state(self) -> None:
        def ready(harness: Harness) -> None:
            harness.make_ready()

        def connecting(harness: Harness) -> None:
            harness.factory.startConnecting(harness.endpoint)

        def down(harness: Harness) -> None:
            connecting(harness)
            harness.endpoint.fail()

        def authenticating(harness: Harness) -> None:
            connecting(harness)
            harness.endpoint.succeed()

        def idle(_: Harness) -> None:
            pass

        for bring in (idle, connecting, down, authenticating, ready):
            harness = Harness()
            bring(harness)
            stopped = [harness.factory.disconnect(), harness.factory.disconnect()]
            if harness.endpoint.protocol is not None:
                self.assertTrue(harness.endpoint.transport.disconnected)
                self.assertNoResult(stopped[0])
                harness.endpoint.lose()
            for stop in stopped:
                self.successResultOf(stop)
            self.assertEqual(harness.states[-1], "idle")
            self.assertEqual(harness.clock.getDelayedCalls(), [])

    def test_a_stopped_connection_can_be_started_again(self) -> None:
        self.harness.make_ready()
        stopped = self.harness.factory.disconnect()
        self.endpoint.lose()
        self.successResultOf(stopped)
        self.harness.make_ready()
        self.assertEqual(self.harness.states[-1], "ready")

    def test_a_start_while_it_closes_connects_afterwards(self) -> None:
        self.harness.make_ready()
        stopped = self.harness.factory.disconnect()
        self.harness.factory.startConnecting(self.endpoint)
        self.assertEqual(self.endpoint.attempts, [])
        self.endpoint.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.harness.states[-2:], ["idle", "connecting"])
        self.assertEqual(len(self.endpoint.attempts), 1)

    def test_a_second_start_keeps_the_connection(self) -> None:
        self.harness.make_ready()
        self.harness.factory.startConnecting(self.endpoint)
        self.assertEqual(self.endpoint.attempts, [])
        self.endpoint.lose()
        self.assertEqual(self.harness.states[-1], "down")
        self.harness.factory.startConnecting(self.endpoint)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_the_cause_of_a_stopped_attempt_is_forgotten(self) -> None:
        self.harness.factory.startConnecting(self.endpoint)
        self.endpoint.succeed()
        self.harness.steps.pop().errback(Failure(CommandFailed("AUTH", "WRONGPASS no")))
        stopped = self.harness.factory.disconnect()
        self.endpoint.lose()
        self.successResultOf(stopped)
        self.harness.factory.startConnecting(self.endpoint)
        self.endpoint.fail()
        self.assertEqual(self.harness.causes, ["An error occurred while connecting: refused."])

    def test_delays_are_bounded_and_vary(self) -> None:
        back_off, cause = BackOff(), Failure(ConnectError())
        delays = {back_off.delay(cause) for _ in range(1000)}
        self.assertGreater(len(delays), 100)
        self.assertLessEqual(max(delays), LONGEST_DELAY)


class ConnectionMachine(RuleBasedStateMachine):
    """In any order of events, at most one connection exists, and stopping ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness()
        self.endpoint = self.harness.endpoint
        self.running = False
        self.stops: list[Deferred[None]] = []

    @rule()
    def start(self) -> None:
        self.running = True
        self.harness.factory.startConnecting(self.endpoint)

    @precondition(lambda self: self.endpoint.attempts)
    @rule()
    def connect(self) -> None:
        self.endpoint.succeed()

    @precondition(lambda self: self.endpoint.attempts)
    @rule()
    def refuse(self) -> None:
        self.endpoint.fail()

    @precondition(lambda self: self.harness.steps)
    @rule(failing=st.booleans())
    def finish_step(self, failing: bool) -> None:
        step = self.harness.steps.pop(0)
        if failing:
            step.errback(Failure(CommandFailed("AUTH", "WRONGPASS no")))
        else:
            step.callback(None)

    @precondition(lambda self: self.endpoint.protocol)
    @rule()
    def lose(self) -> None:
        self.endpoint.lose()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.harness.clock.advance(seconds)

    @rule()
    def stop(self) -> None:
        self.running = False
        self.stops.append(self.harness.factory.disconnect())

    @invariant()
    def there_is_one_attempt_or_connection_at_most(self) -> None:
        assert len(self.endpoint.attempts) + (self.endpoint.protocol is not None) <= 1

    @invariant()
    def it_does_not_rest_while_it_should_connect(self) -> None:
        state = self.harness.states[-1]
        assert state == "stopping" or self.running == (state != "idle")

    @invariant()
    def ready_means_prepared(self) -> None:
        assert self.harness.states[-1] != "ready" or self.endpoint.protocol is not None

    def teardown(self) -> None:
        self.stop()
        if self.endpoint.protocol is not None:
            self.lose()
        assert self.harness.states[-1] == "idle"
        assert self.harness.clock.getDelayedCalls() == []
        assert all(stop.called for stop in self.stops)


ConnectionMachine.TestCase.settings = settings(stateful_step_count=30)
TestConnectionMachine = ConnectionMachine.TestCase
