"""`GatewayClient` against a scripted gateway, over real sockets."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from opentera_twisted import BusUnavailable
from opentera_twisted.client import (
    Disconnected,
    Event,
    GatewayClient,
    HandshakeFailed,
    KeySupplierFailed,
    WebSocketClosed,
    back_off,
    websocket,
)
from opentera_twisted.link import back_off as link_back_off
from opentera_twisted.messages import UserEvent
from tests.helpers.support import GUARD, Collector, log_of, turn

from . import scripted
from .scripted import ScriptedGateway, key_maker

SECRETS = ("SECRET-KEY", "SECRET-TOKEN")


class ClientTestCase(TestCase):
    """A client and a scripted gateway."""

    timeout = 120

    def setUp(self) -> None:
        self.patch(link_back_off, "FIRST_DELAY", 0.01)
        self.asked = Collector()
        self.events = Collector()
        self.gaps = Collector()
        self.logged = log_of(self)
        self.start_server()

    def start_server(self, **options: Any) -> None:
        """Start a gateway on its own port."""
        self.server = ScriptedGateway(**options)
        listen: Any = reactor.listenTCP
        self.port = listen(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"ws://127.0.0.1:{self.port.getHost().port}/wss/device"

    def make(self, supplier: Any = None, url: str | None = None, **options: Any) -> GatewayClient:
        """Return a client that collects its events and is stopped at the end."""
        supplier = supplier or key_maker(self.server, self.asked)
        handlers = {"on_event": self.events, "on_gap": self.gaps}
        client = GatewayClient(url or self.url, supplier, **{**handlers, **options})
        self.addCleanup(client.stopService)
        return client

    async def start(self, supplier: Any = None, **options: Any) -> GatewayClient:
        """Return a connected client."""
        client = self.make(supplier, **options)
        client.startService()
        await client.connected()
        return client

    @property
    def names(self) -> list[str]:
        return [event.data["userFullname"] for event in self.events.items]

    @property
    def queries(self) -> list[list[str]]:
        """Return the names in the query of each request."""
        return [list(parse_qs(request.partition("?")[2])) for request in self.server.requests.items]

    def assert_nothing_told(self) -> None:
        """Assert that the log contains no key or token."""
        text = "".join(self.logged.items)
        assert not any(secret in text for secret in SECRETS)


class RecoveryTests(ClientTestCase):
    async def test_a_break_loses_no_event_and_needs_no_key(self) -> None:
        await self.start()
        self.server.publish("1", "2")
        await self.events.wait(2)
        self.server.cut()
        await self.server.closed.wait(1)
        self.server.publish("3")
        await self.server.opened.wait(2)
        self.server.publish("4")
        await self.events.wait(4)
        assert self.names == ["1", "2", "3", "4"]
        assert (len(self.asked.items), self.gaps.items) == (1, [])
        assert self.queries == [["id"], ["recover", "received"]]
        self.assert_nothing_told()

    async def test_each_return_counts_from_its_own_first_frame(self) -> None:
        await self.start()
        for number in range(1, 6):
            self.server.publish(f"a{number}")
            await self.events.wait(2 * number - 1)
            self.server.close(1012)
            await self.server.closed.wait(number)
            self.server.publish(f"b{number}")
            await self.events.wait(2 * number)
        assert self.names == [f"{letter}{n}" for n in range(1, 6) for letter in "ab"]
        assert (len(self.asked.items), self.gaps.items) == (1, [])

    async def test_events_lost_by_the_gateway_are_a_gap(self) -> None:
        await self.start()
        self.server.loses = True
        self.server.cut()
        await self.gaps.wait(1)
        self.server.publish("later")
        await self.events.wait(1)
        assert len(self.asked.items) == 1

    async def test_an_unknown_token_is_replaced_by_a_new_key_and_is_a_gap(self) -> None:
        await self.start()
        self.server.tokens.clear()
        self.server.cut()
        await self.gaps.wait(1)
        assert self.queries == [["id"], ["recover", "received"], ["id"]]
        assert len(self.asked.items) == 2
        self.assert_nothing_told()

    async def test_a_gateway_that_is_away_keeps_the_token_good(self) -> None:
        self.patch(back_off, "LONGEST_RETRY_AFTER", 0.01)
        await self.start()
        self.server.status = 503
        self.server.cut()
        await self.server.requests.wait(4)
        self.server.status = 0
        await self.server.opened.wait(2)
        self.server.publish("1")
        await self.events.wait(1)
        assert (len(self.asked.items), self.gaps.items) == (1, [])

    async def test_a_frame_above_the_limit_is_not_requested_again(self) -> None:
        self.patch(back_off, "REBUKED", 0.01)
        await self.start(max_message_size=2000)
        self.server.publish("1", "x" * 2000)
        await self.gaps.wait(1)
        self.server.publish("2")
        await self.events.wait(2)
        assert self.names == ["1", "2"]
        assert len(self.asked.items) == 2

    async def test_an_invalid_first_frame_closes_the_connection(self) -> None:
        client = self.make()
        self.patch(self.server, "token", lambda: "")
        client.startService()
        await self.server.closed.wait(2)
        assert isinstance(client.error, HandshakeFailed)
        self.assertFailure(client.connected(0.001), BusUnavailable)
        assert not client.is_connected

    async def test_frames_behind_an_invalid_first_frame_are_ignored(self) -> None:
        client = self.make()
        self.patch(self.server, "token", lambda: "")
        opened = self.server.opened

        def opens(peer: Any) -> None:
            peer.send(scripted.event("behind"))  # in one write with the first frame
            opened(peer)

        self.patch(self.server, "opened", opens)
        client.startService()
        await self.server.closed.wait(2)
        assert self.events.items == []


class PlainGatewayTests(ClientTestCase):
    async def test_each_reconnect_is_a_gap_and_needs_a_key(self) -> None:
        for names in (True, False):
            self.start_server(recovery=False, names=names)
            self.gaps, self.events, self.asked = Collector(), Collector(), Collector()
            client = await self.start()
            self.server.publish("1")
            await self.events.wait(1)
            self.server.cut()
            await self.gaps.wait(1)
            self.server.publish("2")
            await self.events.wait(2)
            assert self.queries == [["id"], ["id"]]
            await client.stopService()

    async def test_recovery_can_be_disabled(self) -> None:
        await self.start(recovery=False)
        (opened,) = self.server.opened.items
        assert not opened.speaks_recovery
        assert opened.websocket_protocol_in_use is None


class KeyTests(ClientTestCase):
    async def test_a_supplier_may_be_a_function_or_a_coroutine(self) -> None:
        make = key_maker(self.server, self.asked)

        async def coroutine() -> str:
            return await succeed(make())

        for supplier in (make, coroutine, lambda: succeed(make())):
            client = await self.start(supplier)
            await client.stopService()
        assert len(self.asked.items) == 3

    async def test_a_failing_supplier_is_retried(self) -> None:
        make = key_maker(self.server, self.asked)

        def exits() -> str:
            raise SystemExit

        wrong: list[Any] = [
            lambda: fail(ValueError("no login")),
            lambda: fail(CancelledError()),
            exits,
            lambda: None,
            lambda: b"device.SECRET-KEY",
            lambda: "SECRET-KEY with space",
            lambda: "SECRET-KEY" * 1000,
            Deferred,
        ]
        errors = Collector()

        def supply() -> Any:
            errors(client.error)
            return wrong.pop(0)() if wrong else make()

        client = self.make(supply, timeout=0.5)
        client.startService()
        await client.connected()
        first, *failed = errors.items
        assert first is None
        assert {type(failure) for failure in failed} == {KeySupplierFailed}
        assert "no login" in str(failed[0])
        assert "CancelledError" in str(failed[1])
        assert "within 0.5 seconds" in str(failed[-1])
        self.assert_nothing_told()

    async def test_an_unused_key_is_kept_while_the_gateway_is_away(self) -> None:
        self.patch(back_off, "LONGEST_RETRY_AFTER", 0.01)
        self.server.status = 503
        client = self.make()
        client.startService()
        await self.server.requests.wait(3)
        assert isinstance(client.error, HandshakeFailed)
        assert client.error.status == 503
        self.server.status = 0
        await client.connected()
        assert len(self.asked.items) == 1

    async def test_a_kept_key_that_has_expired_is_replaced_at_once(self) -> None:
        self.server.status = 503
        client = self.make()
        client.startService()
        await self.server.requests.wait(2)
        self.server.status = 0
        self.server.keys.clear()
        await client.connected()
        assert len(self.asked.items) == 2
        assert self.gaps.items == []

    def refused_key(self) -> str:
        self.asked()
        return "device.SECRET-KEY"

    async def test_a_refused_key_is_replaced_after_a_while(self) -> None:
        client = self.make(self.refused_key)
        client.startService()
        await self.asked.wait(3)
        assert isinstance(client.error, HandshakeFailed)
        assert client.error.status == 403
        assert "403 Forbidden" in str(client.error)
        self.assert_nothing_told()


class CloseTests(ClientTestCase):
    async def test_stopping_closes_with_1000_and_waits(self) -> None:
        client = await self.start()
        both = [client.stopService(), client.stopService()]
        assert not any(stopped.called for stopped in both)
        await gatherResults(both)
        assert not client.is_connected
        await self.server.closed.wait(1)
        assert self.server.closed.items[0][0] == 1000
        with pytest.raises(BusUnavailable, match="stopped"):
            await client.connected()

    async def test_stopping_ends_an_attempt_in_any_state(self) -> None:
        supplying: Deferred[str] = Deferred()
        client = self.make(lambda: supplying)
        client.startService()
        waiting = client.connected()
        await client.stopService()
        with pytest.raises(BusUnavailable):
            await waiting
        self.server.holds = True
        client = self.make()
        client.startService()
        await self.server.requests.wait(1)
        await client.stopService()

    async def test_a_stopped_client_can_be_started_again(self) -> None:
        client = await self.start()
        await client.stopService()
        client.startService()
        await client.connected()
        assert len(self.asked.items) == 2
        stopped = client.stopService()
        client.startService()  # before the connection is closed
        assert not client.is_connected
        await client.connected()
        await stopped
        assert len(self.asked.items) == 3
        both = []
        for _ in range(2):  # the second time before the first has closed it
            both.append(client.stopService())
            client.startService()
        for stopped in both:
            await stopped
        await client.connected()
        assert len(self.asked.items) == 4
        stopped = client.stopService()
        stopped.addErrback(lambda failure: failure.trap(CancelledError))
        stopped.cancel()  # ends only the wait
        client.startService()
        await client.connected(GUARD)
        assert len(self.asked.items) == 5
        assert self.gaps.items == []

    async def test_a_failed_waiter_may_start_the_client_again(self) -> None:
        supplying: list[Any] = [Deferred()]
        make = key_maker(self.server, self.asked)
        client = self.make(
            lambda: supplying.pop() if supplying else make(), on_event=None, on_gap=None
        )
        client.startService()
        client.connected().addErrback(lambda _: client.startService())
        await client.stopService()
        await client.connected()
        self.server.publish("1")
        event = await client.next_event()
        assert event.data["userFullname"] == "1"

    async def test_a_failed_reader_may_start_the_client_again(self) -> None:
        client = await self.start(on_event=None, on_gap=None)
        connected: list[Deferred[None]] = []

        def restart(_: object) -> None:
            client.startService()
            connected.append(client.connected())

        client.next_event().addErrback(restart)
        await client.stopService()
        (waiting,) = connected
        await waiting
        assert client.is_connected

    async def test_the_disconnect_command_ends_it_for_good(self) -> None:
        client = await self.start()
        self.server.close(4000, "CMD_CLIENT_DISCONNECT")
        with pytest.raises(Disconnected) as caught:
            await self.until_ended(client)
        assert (caught.value.code, caught.value.reason) == (4000, "CMD_CLIENT_DISCONNECT")
        assert len(self.server.requests.items) == 1
        await client.stopService()
        client.startService()
        await client.connected()

    async def until_ended(self, client: GatewayClient) -> None:
        await self.server.closed.wait(1)
        while True:
            await client.connected()
            await turn()

    async def test_a_close_with_1008_lengthens_the_delay(self) -> None:
        delays = Collector()
        delay = back_off.ClientBackOff.delay

        def watched(self: Any, cause: Any) -> float:
            seconds = delay(self, cause)
            delays((cause.value, seconds))
            return 0.0

        self.patch(back_off.ClientBackOff, "delay", watched)
        await self.start()
        for count, code in enumerate((1001, 1008, 1013, 1012), 1):
            self.server.close(code)
            await self.server.opened.wait(count + 1)
        found = [(error.code, seconds >= 5.0) for error, seconds in delays.items]
        assert found == [(1001, False), (1008, True), (1013, True), (1012, False)]
        assert {type(error) for error, _ in delays.items} == {WebSocketClosed}

    async def test_a_gateway_that_answers_no_ping_is_dropped(self) -> None:
        self.patch(websocket, "PING_INTERVAL", 0.2)
        self.patch(websocket, "PONG_TIMEOUT", 0.4)
        self.server.answers_pings = False
        await self.start()
        await self.server.opened.wait(2)
        assert any("silent" in line for line in self.logged.items)
        assert len(self.asked.items) == 1

    async def test_a_gateway_that_answers_pings_is_kept(self) -> None:
        self.patch(websocket, "PING_INTERVAL", 0.2)
        await self.start()
        await self.server.pings.wait(3)
        assert len(self.server.opened.items) == 1

    async def test_a_gateway_that_answers_no_close_is_dropped(self) -> None:
        self.patch(websocket, "CLOSE_TIMEOUT", 0.01)
        client = await self.start()
        (peer,) = self.server.clients
        peer.transport.pauseProducing()
        await client.stopService()
        peer.transport.resumeProducing()

    async def test_a_slow_handshake_times_out(self) -> None:
        self.server.holds = True
        client = self.make(timeout=0.2)
        client.startService()
        await self.server.requests.wait(2)
        assert "did not open a websocket within 0.2 s" in str(client.error)

    async def test_an_endless_response_fails_the_handshake(self) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nX: "
        error = await self.error_after(head + b"x" * websocket.MAX_RESPONSE)
        assert "more than 65,536 bytes of headers" in str(error)

    async def test_a_refusal_in_latin_1_has_its_status(self) -> None:
        head = "HTTP/1.1 403 Accès refusé\r\nX: é\r\n\r\n"
        error = await self.error_after(head.encode("latin-1") + b"\xff")
        assert isinstance(error, HandshakeFailed)
        assert error.status == 403

    async def error_after(self, response: bytes) -> BaseException | None:
        """Return the error of a client whose server answers its handshake so."""

        class Answering(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(response)

        listen: Any = reactor.listenTCP
        port = listen(0, Factory.forProtocol(Answering), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        errors = Collector()
        url = f"ws://127.0.0.1:{port.getHost().port}/wss/device"

        def supply() -> str:
            errors(client.error)
            return "key"

        client: GatewayClient = self.make(supply, url, timeout=2.0)
        client.startService()
        error: BaseException | None = (await errors.wait(2))[1]
        return error


class EventTests(ClientTestCase):
    async def test_events_are_typed(self) -> None:
        await self.start()
        self.server.publish("Zoé")
        (event,) = await self.events.wait(1)
        assert isinstance(event, Event)
        assert event.name == "UserEvent"
        assert event.topic == "websocket.device.11111111-2222-3333-4444-555555555555.events"
        assert event.time is not None
        assert event.time.timestamp() == 1_700_000_000.5
        assert event.data["type"] == "USER_CONNECTED"
        assert isinstance(event.message, UserEvent)
        assert event.message.user_fullname == "Zoé"
        assert not event.is_gap

    async def test_a_handler_that_raises_is_logged_and_harms_nothing(self) -> None:
        errors: list[type[BaseException]] = [ValueError, SystemExit]

        def raises(event: Event) -> None:
            if errors:
                raise errors.pop()("of the handler")
            self.events(event)

        await self.start(on_event=raises)
        self.server.publish("1", "2", "3")
        await self.events.wait(1)
        assert self.names == ["3"]
        assert len(self.server.opened.items) == 1
        assert len(self.flushLoggedErrors(ValueError, SystemExit)) == 2

    async def test_a_handler_may_stop_the_client(self) -> None:
        stopped = Collector()

        def stops(event: Event) -> None:
            self.events(event)
            client.stopService().addCallback(stopped)

        client = await self.start(on_event=stops)
        self.server.publish("1", "2")
        await stopped.wait(1)
        assert self.names == ["1"]

    async def test_a_restarted_client_ignores_its_old_connection(self) -> None:
        def restarts(event: Event) -> None:
            self.events(event)
            if len(self.events.items) == 1:
                client.stopService()
                client.startService()

        client = await self.start(on_event=restarts)
        self.server.publish("1", "2")
        await self.server.opened.wait(2)
        await client.connected()
        self.server.publish("3")
        await self.events.wait(2)
        assert self.names == ["1", "3"]

    async def test_frames_that_carry_no_event_are_dropped(self) -> None:
        await self.start()
        (peer,) = self.server.clients
        peer.sendMessage(b"\x00", isBinary=True)
        for text in ("Not allowed to send message", "[]", "{}", '{"message": []}'):
            peer.send(text)
        self.server.publish("1")
        await self.events.wait(1)
        self.server.cut()
        self.server.publish("2")
        await self.events.wait(2)
        assert self.names == ["1", "2"]
        warnings = [line for line in self.logged.items if "dropped a frame" in line]
        assert len(warnings) == 1
        assert "a binary frame" in warnings[0]

    async def test_each_connection_warns_of_a_frame_without_an_event(self) -> None:
        await self.start()
        for count in (1, 2):
            (peer,) = self.server.clients
            peer.send("[]")
            peer.send("{}")
            self.server.publish(str(count))
            await self.events.wait(count)
            self.server.cut()
            await self.server.opened.wait(count + 1)
        assert self.names == ["1", "2"]
        assert sum("dropped a frame" in line for line in self.logged.items) == 2


class IterationTests(ClientTestCase):
    async def test_async_for_starts_the_client_and_marks_gaps(self) -> None:
        client = self.make(on_event=None, on_gap=None)
        seen: list[str] = []
        self.server.opened.wait(1).addCallback(lambda _: self.server.publish("1"))
        async for event in client:
            seen.append("gap" if event.is_gap else event.data["userFullname"])
            if seen[-1] == "1":
                self.server.loses = True
                self.server.cut()
            elif seen[-1] == "gap":
                self.server.publish("2")
            else:
                break
        assert seen == ["1", "gap", "2"]

    async def test_stopping_ends_the_loop_and_a_disconnect_raises(self) -> None:
        client = self.make(on_event=None)
        reading = Deferred.fromCoroutine(_read(client))
        await self.server.opened.wait(1)
        await client.connected()
        await client.stopService()
        assert await reading == []
        client.startService()
        reading = Deferred.fromCoroutine(_read(client))
        await client.connected()
        self.server.close(4000)
        with pytest.raises(Disconnected):
            await reading

    async def test_a_client_with_a_handler_is_not_read(self) -> None:
        client = await self.start()
        with pytest.raises(ValueError, match="on_event"):
            await client.next_event()


async def _read(client: GatewayClient) -> list[Event]:
    return [event async for event in client]
