"""The client for browsers in Chromium, against real gateways and misbehaving servers."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from opentera_twisted import SessionKeys, topics
from opentera_twisted.admin import LocalOverview, admin_site
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.recovery import handover
from opentera_twisted.messages import DeviceEvent, ServerCommand, UserEvent
from tests.client.scripted import ScriptedGateway, key_maker
from tests.client.test_recovery import announced
from tests.faults.proxy import Proxy
from tests.helpers.browser import BrowserTestCase, Page
from tests.helpers.processes import Process, twistd
from tests.helpers.support import DATA, GATEWAY, ROOT, UUID, Collector, free_port, message

TOPIC = topics.websocket_events("user", UUID)
REPORTS = "module.TeraServer.UserManagerModule.messages"
NEVER = "new Promise(() => {})"
HOUR = 3_600_000


def tera_event(events: list[Any], header: Any = (("topic", "t"), ("time", 1.5))) -> bytes:
    """Return the frame of an event with any content."""
    message = {"@type": "type.googleapis.com/opentera.protobuf.TeraEvent", "events": events}
    return json.dumps({"message": {**message, "header": header and dict(header)}}).encode()


class WildProtocol(WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """A websocket controlled by a function of its server once it is open."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.connected()

    def onConnect(self, request: Any) -> Any:
        self.factory.requests.append(self.http_request_uri)
        if not self.factory.answer:
            return Deferred()
        # A browser fails when none is selected.
        return next(
            (
                protocol
                for protocol in request.protocols
                if not protocol.startswith("opentera-bus.")
            ),
            None,
        )

    def onOpen(self) -> None:
        self.factory.opened(self)

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self.factory.gone()


class WildServer(WebSocketServerFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Accepts every client and misbehaves on request."""

    protocol = WildProtocol

    def __init__(self, opened: Callable[[Any], object], *, answer: bool) -> None:
        super().__init__(reactor=reactor)
        self.opened = opened
        self.answer = answer
        self.connected = Collector()
        self.gone = Collector()
        self.requests: list[str] = []
        self.number = 0
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)


class ClientTestCase(BrowserTestCase):
    """A page with the client, a server of session keys, and a gateway."""

    redis_user = GATEWAY

    async def switch_network(self, *, offline: bool) -> None:
        """Take the browser off the network, or back to it."""
        await self.browser.command("Network.enable")
        self.addCleanup(self.browser.command, "Network.disable")
        network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self.browser.command("Network.emulateNetworkConditions", offline=offline, **network)

    async def start_gateway(self, port: int | None = None) -> None:
        """Start a gateway on a free or given port."""
        self.bus_ = await self.bus()
        self.gate = Gateway(self.bus_)
        self.gate.startService()
        self.port = port or free_port()  # stays ours while no gateway listens there
        listen: Any = reactor.listenTCP
        self.listening = listen(self.port, self.gate.factory, interface="127.0.0.1")
        self.addCleanup(self.gate.stopService)
        self.addCleanup(self.listening.stopListening)

    async def stop_gateway(self) -> None:
        await self.listening.stopListening()
        await self.gate.stopService()

    async def show(self, port: int, client: str | None = None) -> None:
        """Show the page, whose ``/key`` issues keys, counted in ``self.asked``."""
        bus = await self.bus()
        if client is None:
            admin = self.listen(admin_site(bus, LocalOverview(bus, Gateway(bus))))
            client = f"http://127.0.0.1:{admin}/opentera-bus.js"
        self.keys = SessionKeys(bus)
        self.asked = Collector()
        page = (DATA / "client.html").read_text()
        page = page.replace("CLIENT", client).replace("GATEWAY", f"ws://127.0.0.1:{port}")
        url = self.serve(
            {
                "": Page(page.encode, "text/html"),
                "key": Page(lambda: self.key().addCallback(str.encode)),
            }
        )
        await self.browser.open(url)

    def key(self) -> Deferred[str]:
        """Answer a request for ``/key``."""
        self.asked()
        return self.keys.issue("user", UUID)

    def wild(self, opened: Callable[[Any], object] = bool, *, answer: bool = True) -> WildServer:
        """Start a misbehaving server on port ``number``."""
        server = WildServer(opened, answer=answer)
        server.number = self.listen(server)
        return server

    async def run_page(self, script: str, *values: Any) -> Any:
        return await self.browser.run(script, *values)

    async def open_page(self) -> None:
        """Show a page that is connected to a gateway."""
        await self.start_gateway()
        await self.show(self.port)
        await self.run_page("start(); await state('open')")


class GatewayTests(ClientTestCase):
    async def test_events_are_objects_with_name_topic_and_time(self) -> None:
        await self.open_page()
        first = UserEvent(type=UserEvent.USER_UPDATED, user_uuid=UUID, user_fullname="Zoé ☃")
        await self.bus_.publish_event(TOPIC, first, DeviceEvent(device_name="x"))
        events = await self.run_page(
            "return (await of('event', 2)).map((e) => ({...e, isDate: e.time instanceof Date,"
            " age: Date.now() - e.time}))"
        )
        assert [(event["name"], event["topic"], event["isDate"]) for event in events] == [
            ("UserEvent", TOPIC, True),
            ("DeviceEvent", TOPIC, True),
        ]
        assert events[0]["data"]["userFullname"] == "Zoé ☃"
        assert events[0]["data"]["type"] == "USER_UPDATED"
        assert events[0]["data"]["@type"] == "type.googleapis.com/opentera.protobuf.UserEvent"
        assert abs(events[0]["age"]) < HOUR

    async def test_a_restart_reports_a_gap(self) -> None:
        await self.open_page()
        port = self.port
        assert not await self.run_page("return log.some((entry) => entry.type === 'gap')")
        await self.stop_gateway()
        await self.run_page("await state('waiting')")
        await self.bus_.publish_event(TOPIC, UserEvent(user_fullname="lost"))
        await self.start_gateway(port)
        (gap,) = await self.run_page("return await of('gap')")
        assert gap["code"] == 1001
        states = await self.run_page("return log.map((entry) => entry.state ?? entry.type)")
        assert states[:3] == ["connecting", "open", "waiting"]
        assert states[-2:] == ["open", "gap"]
        await self.bus_.publish_event(TOPIC, UserEvent(user_fullname="after"))
        (event,) = await self.run_page("return await of('event')")
        assert event["data"]["userFullname"] == "after"

    async def test_the_client_reconnects_after_the_gateway_was_killed(self) -> None:
        port, admin = free_port(), free_port()
        options = (
            "--redis", self.gateway_url, "--websocket", f"tcp:{port}:interface=127.0.0.1",
            "--admin", f"tcp:{admin}:interface=127.0.0.1",
        )  # fmt: skip
        program = twistd(*options)
        self.addCleanup(program.kill)
        await program.says("is ready")
        await self.show(port, f"http://127.0.0.1:{admin}/opentera-bus.js")
        await self.run_page("start(); await state('open')")
        program.send(signal.SIGKILL)
        (waiting,) = await self.run_page("return (await state('waiting')).slice(0, 1)")
        assert waiting["code"] == 1006
        await program.ended()
        again = twistd(*options)
        self.addCleanup(again.kill)
        (gap,) = await self.run_page("return await of('gap')")
        assert gap["code"] == 1006

    async def open_behind_proxy(self) -> tuple[Process, Proxy]:
        """A page at a gateway that is a process; another one runs in this process."""
        self.patch(handover, "TIMEOUT", 60.0)  # the machine may be busy
        port = free_port()
        program = twistd(
            *("--redis", self.gateway_url, "--websocket", f"tcp:{port}:interface=127.0.0.1"),
            *("--admin", "none"),
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        await self.start_gateway()
        await announced(self.redis, 2)
        proxy = Proxy(port)
        self.addCleanup(proxy.stop)
        await self.show(proxy.port)
        await self.run_page("start(); await state('open')")
        proxy.target = self.port
        return program, proxy

    async def publish(self, *names: str) -> None:
        for name in names:
            await self.bus_.publish_event(TOPIC, UserEvent(user_fullname=name))

    async def test_a_stopped_gateway_hands_the_page_over_to_another(self) -> None:
        program, _ = await self.open_behind_proxy()
        await self.publish("1")
        program.send(signal.SIGTERM)
        names = [str(number) for number in range(2, 30)]
        await self.publish(*names)
        events = await self.run_page("return await of('event', 29)")
        assert [event["data"]["userFullname"] for event in events] == ["1", *names]
        assert not await self.run_page("return log.some(({type}) => type === 'gap')")
        assert len(self.asked.items) == 1
        await program.ended()

    async def test_a_killed_gateway_is_a_gap_at_another(self) -> None:
        program, _ = await self.open_behind_proxy()
        program.send(signal.SIGKILL)
        (gap,) = await self.run_page("return await of('gap')")
        assert gap["code"] == 1006
        await self.publish("1")
        (event,) = await self.run_page("return await of('event')")
        assert event["data"]["userFullname"] == "1"

    async def test_a_cut_connection_at_a_real_gateway_loses_no_event(self) -> None:
        await self.start_gateway()
        proxy = Proxy(self.port)
        self.addCleanup(proxy.stop)
        await self.show(proxy.port)
        await self.run_page("start(); await state('open')")
        for number in range(3):
            proxy.cut()
            await self.publish(f"a{number}", f"b{number}")
            await self.run_page("return await of('event', arguments[0])", 2 * number + 2)
        events = await self.run_page("return await of('event', 6)")
        found = [event["data"]["userFullname"] for event in events]
        assert found == [f"{letter}{number}" for number in range(3) for letter in "ab"]
        assert len(self.asked.items) == 1

    async def test_a_disconnect_command_ends_the_client_for_good(self) -> None:
        await self.open_page()
        command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        await self.bus_.send_module_message(topics.disconnect_command(UUID), command, source="test")
        (closed,) = await self.run_page("return await state('closed')")
        assert (closed["code"], closed["reason"]) == (4000, "CMD_CLIENT_DISCONNECT")
        await self.run_page("dispatchEvent(new Event('online'))")
        assert await self.run_page("return [bus.state, log.length]") == ["closed", 3]
        assert len(self.asked.items) == 1

    async def test_closing_is_final_and_idempotent(self) -> None:
        await self.open_page()
        reports = self.subscribed(REPORTS)
        await self.run_page("bus.close(); bus.close(); dispatchEvent(new Event('online'))")
        await message(reports)  # the gateway has dropped it
        states = await self.run_page("return log.map(({state, code}) => [state, code])")
        assert states == [["connecting", None], ["open", None], ["closed", 1000]]

    async def test_refused_keys_are_reported_and_retried_with_back_off(self) -> None:
        await self.start_gateway()
        await self.show(self.port)
        script = """
            start({key: () => 'user.' + 'k'.repeat(43), minDelay: 1, maxDelay: 16});
            return [await of('error', 7), await state('waiting', 7)];
        """
        errors, waits = await self.run_page(script)
        assert {error["name"] for error in errors} == {"HandshakeFailed"}
        assert [error["failures"] for error in errors] == list(range(1, len(errors) + 1))
        for number, wait in enumerate(waits):
            longest = min(16, 2 ** (number + 1))
            assert longest / 2 <= wait["delay"] <= longest
        assert waits[6]["delay"] >= 8

    async def test_events_and_console_lines_contain_no_key(self) -> None:
        await self.start_gateway()
        await self.show(self.port)
        script = """
            const real = WebSocket;
            let made = 0;
            window.WebSocket = class {
              constructor(url) {
                if (made++) return new real(url);
                throw new DOMException(`not ${url}`, 'SecurityError');
              }
            };
            start({key: () => 'SECRET'});
            const found = await of('error', 2);
            return [...found.map((error) => error.message), JSON.stringify(log)];
        """
        told = await self.run_page(script)
        assert "SecurityError" in told[0]
        assert "SECRET" not in "".join(told)
        written = await self.browser.console()
        # The browser's own line about a refused handshake holds the URL; ours do not.
        assert [entry for entry in written if entry["source"] == "console-api"] == []


class RecoveryTests(ClientTestCase):
    """Breaks of all kinds, at a scripted gateway with recovery."""

    async def start(self, window: int = 60, **options: Any) -> None:
        """A page that is connected to ``self.gateway``."""
        self.gateway = ScriptedGateway(**options)
        self.gateway.window = window
        await self.show(self.listen(self.gateway))
        self.make_key = key_maker(self.gateway, self.asked)
        await self.run_page("start(); await state('open')")

    def key(self) -> Deferred[str]:
        return succeed(self.make_key())

    async def names(self, count: int) -> list[str]:
        """The names in the events that the page got, once there are so many."""
        events = await self.run_page("return await of('event', arguments[0])", count)
        return [event["data"]["userFullname"] for event in events]

    async def gaps(self) -> int:
        gaps: int = await self.run_page("return log.filter(({type}) => type === 'gap').length")
        return gaps

    async def test_a_break_loses_no_event_and_needs_no_key(self) -> None:
        await self.start()
        for number in range(1, 4):
            self.gateway.publish(f"a{number}")
            await self.names(2 * number - 1)
            self.gateway.cut()
            await self.gateway.closed.wait(number)
            self.gateway.publish(f"b{number}")
            await self.names(2 * number)
        assert await self.names(6) == ["a1", "b1", "a2", "b2", "a3", "b3"]
        opened = await self.run_page("return (await state('open')).map((one) => one.recovered)")
        assert opened == [False, True, True, True]
        assert await self.gaps() == 0
        assert len(self.asked.items) == 1
        assert all("recover=" in request for request in self.gateway.requests.items[1:])

    async def test_without_the_network_the_token_stays_good(self) -> None:
        await self.start()
        await self.switch_network(offline=True)
        self.gateway.cut()
        # Several attempts fail meanwhile.
        await self.run_page("await state('waiting', 4)")
        self.gateway.publish("1", "2")
        await self.switch_network(offline=False)
        assert await self.names(2) == ["1", "2"]
        assert await self.gaps() == 0
        assert len(self.asked.items) == 1

    async def test_a_frozen_page_gets_every_event_afterwards(self) -> None:
        await self.start()
        self.gateway.publish("1")
        await self.names(1)
        self.addCleanup(self.browser.renew)  # a tab that was frozen stays hidden
        await self.browser.command("Page.setWebLifecycleState", state="frozen")
        self.gateway.publish("2")
        self.gateway.cut()
        await self.gateway.closed.wait(1)
        self.gateway.publish("3")
        await self.browser.command("Page.setWebLifecycleState", state="active")
        assert await self.names(3) == ["1", "2", "3"]
        assert await self.gaps() == 0
        assert len(self.asked.items) == 1

    async def test_a_refused_token_is_replaced_by_a_key_and_is_a_gap(self) -> None:
        await self.start()
        self.gateway.tokens.clear()
        self.gateway.cut()
        await self.run_page("await of('gap')")
        self.gateway.publish("1")
        assert await self.names(1) == ["1"]
        assert len(self.asked.items) == 2
        assert "SECRET" not in await self.run_page("return JSON.stringify(log)")

    async def test_a_token_is_retried_soon_at_a_gateway_that_is_back(self) -> None:
        await self.start()
        await self.switch_network(offline=True)
        self.gateway.cut()
        self.gateway.tokens.clear()
        await self.run_page("await state('waiting', 6)")
        await self.switch_network(offline=False)
        await self.run_page("await of('gap')")
        waits = await self.run_page("return await state('waiting')")
        first, second = waits[-2:]
        assert first["delay"] <= 2
        assert second["delay"] <= 4

    async def test_what_the_gateway_lost_is_a_gap(self) -> None:
        await self.start()
        self.gateway.loses = True
        self.gateway.cut()
        await self.run_page("await of('gap')")
        assert len(self.asked.items) == 1

    async def test_after_the_window_it_logs_in_with_a_key(self) -> None:
        await self.start(window=0)
        self.gateway.cut()
        await self.run_page("await of('gap')")
        assert self.gateway.requests.items[-1].count("id=") == 1
        assert len(self.asked.items) == 2

    async def test_a_gateway_without_recovery_is_followed_with_gaps(self) -> None:
        for names in (True, False):  # a browser fails once when no name is selected
            await self.start(recovery=False, names=names)
            self.gateway.cut()
            await self.run_page("await of('gap')")
            self.gateway.publish("1")
            assert await self.names(1) == ["1"]
            found = [request for request in self.gateway.requests.items if "recover" in request]
            assert found == []

    async def test_recovery_can_be_left_out(self) -> None:
        await self.start()
        await self.run_page("bus.close(); start({recovery: false}); await state('open', 2)")
        assert self.gateway.clients[-1].websocket_protocol_in_use is None

    async def test_a_first_frame_that_is_none_is_a_failed_handshake(self) -> None:
        await self.start()
        self.patch(self.gateway, "token", lambda: None)
        self.gateway.cut()
        (error,) = (await self.run_page("return await of('error')"))[:1]
        assert error["name"] == "HandshakeFailed"
        assert "recovery token" in error["message"]
        _, (code, _) = (await self.gateway.closed.wait(2))[:2]
        assert code != 1000, "the gateway would end the recovery"


class KeyTests(ClientTestCase):
    async def test_a_failing_supplier_is_retried(self) -> None:
        await self.start_gateway()
        await self.show(self.port)
        script = f"""
            const answers = [
              () => {{ throw new Error('thrown'); }},
              () => Promise.reject(new Error('rejected')),
              () => Promise.reject(undefined),
              () => '', () => null, () => ({{}}), () => '<html> an error page',
              () => {NEVER},
            ];
            const real = await (await fetch('/key')).text();
            start({{key: () => answers.length ? answers.shift()() : real, timeout: 2000}});
            await state('open');
            return await of('error');
        """
        errors = await self.run_page(script)
        assert [error["name"] for error in errors] == ["KeySupplierFailed"] * 8
        assert "no key within" in errors[-1]["message"]

    async def test_the_suppliers_exception_is_the_cause(self) -> None:
        await self.show(1)
        script = """
            const thrown = new Error('no login');
            const made = new OpenteraBus({url: 'ws://h/', key: () => { throw thrown; }});
            return await new Promise((resolve) => made.addEventListener('error', ({detail}) => {
              made.close();
              resolve([detail instanceof KeySupplierFailed, detail.cause === thrown]);
            }));
        """
        assert await self.run_page(script) == [True, True]

    async def test_closing_aborts_a_running_supplier(self) -> None:
        server = self.wild()
        await self.show(server.number)
        script = """
            let give, given;
            const asked = new Promise((resolve) => {
              start({key: ({signal}) => {
                given = signal;
                resolve();
                return new Promise((resolve) => give = resolve);
              }});
            });
            await asked;
            bus.close();
            give('key');
            await fetch('/key'); // turns of the loop, and a request after those of the bus
            return [given.aborted, given.reason.name, log.map((entry) => entry.state)];
        """
        assert await self.run_page(script) == [True, "AbortError", ["connecting", "closed"]]
        assert server.connected.items == []

    async def test_a_late_key_is_ignored(self) -> None:
        server = self.wild()
        await self.show(server.number)
        script = """
            let give;
            const key = () => new Promise((resolve) => give = resolve);
            start({timeout: 20, minDelay: 3600000, maxDelay: 3600000, key});
            await of('error');
            give('key');
            await fetch('/key');
            return bus.state;
        """
        assert await self.run_page(script) == "waiting"
        assert server.connected.items == []

    async def test_closing_before_the_start_requests_no_key(self) -> None:
        await self.show(1)
        script = """
            start({key: () => keep('asked', {})}).close();
            await fetch('/key');
            return log.map((entry) => entry.state ?? entry.type);
        """
        assert await self.run_page(script) == ["closed"]


class WildTests(ClientTestCase):
    """Tests against misbehaving servers."""

    async def test_every_other_close_code_reconnects_and_reports_a_gap(
        self,
    ) -> None:
        codes = [1000, 1001, 1006, 1008, 1009, 1011, 1012, 1013, 3000]
        left = list(codes)

        def opened(client: Any) -> None:
            if left:
                code = left.pop(0)
                if code == 1006:
                    client.transport.loseConnection()  # without a close frame
                else:
                    client.sendCloseFrame(code=code, reasonUtf8=b"why")

        await self.show(self.wild(opened).number)
        gaps = await self.run_page("start(); return await of('gap', 9)")
        assert [gap["code"] for gap in gaps] == codes
        assert gaps[0]["reason"] == "why"

    async def test_an_unresponsive_gateway_times_out(self) -> None:
        server = self.wild(answer=False)
        await self.show(server.number)
        script = "start({timeout: 1000}); return await of('error', 2)"
        errors = await self.run_page(script)
        assert {error["name"] for error in errors} == {"HandshakeFailed"}
        assert "did not open within 1000 ms" in errors[0]["message"]

    async def test_closing_during_the_handshake(self) -> None:
        server = self.wild(answer=False)
        await self.show(server.number)
        await self.run_page("start()")
        await server.connected.wait(1)
        assert await self.run_page("bus.close(); await fetch('/key'); return bus.state") == "closed"
        await server.gone.wait(1)

    async def test_malformed_frames_are_reported_and_dropped(self) -> None:
        junk = [
            "Not allowed to send message", "",
            "null", "[]", "{}", '{"message": 1}', '{"message": []}',
            '{"message": {"@type": "a/opentera.protobuf.TeraEvent", "events": {}}}',
            '{"message": {"@type": "a/opentera.protobuf.TeraEvent", "events": [1]}}',
            '{"message": {"@type": "a/opentera.protobuf.TeraEvent"}}',
        ]  # fmt: skip

        def opened(client: Any) -> None:
            client.sendMessage(b"\x00\xff", isBinary=True)
            for text in junk:
                client.sendMessage(text.encode())
            client.sendMessage(tera_event([{"@type": "a/opentera.protobuf.UserEvent"}]))

        await self.show(self.wild(opened).number)
        script = "start(); await of('event'); return [await of('error'), bus.state]"
        errors, state = await self.run_page(script)
        assert [error["name"] for error in errors] == ["BadMessage"] * (len(junk) + 1)
        assert state == "open"

    async def test_events_of_unknown_types_are_not_lost(self) -> None:
        strange = [
            {"@type": "type.googleapis.com/opentera.protobuf.NewEvent", "x": 1},
            {"@type": "type.googleapis.com/other.UserEvent", "x": 2},
            {"x": 3},
            {"@type": {"toString": 4}},
            {"@type": "a/constructor", "__proto__": {"x": 5}},
        ]

        def opened(client: Any) -> None:
            client.sendMessage(tera_event(strange))
            client.sendMessage(json.dumps({"message": {"@type": "a/b.Other", "x": 6}}).encode())
            client.sendMessage(tera_event([{}], header=None))

        await self.show(self.wild(opened).number)
        events = await self.run_page("start(); return await of('event', 7)")
        names = ["NewEvent", "other.UserEvent", "", "", "constructor", "b.Other", ""]
        assert [event["name"] for event in events] == names
        assert [event["data"] for event in events[:4]] == strange[:4]
        assert [event["topic"] for event in events] == ["t"] * 5 + [None] * 2
        assert events[-1]["time"] is None

    async def test_events_arrive_in_order_and_none_after_closing(self) -> None:
        def opened(client: Any) -> None:
            for first in range(0, 10_000, 100):
                client.sendMessage(tera_event([{"n": n} for n in range(first, first + 100)]))

        await self.show(self.wild(opened).number)
        script = """
            start();
            bus.addEventListener('event', ({detail}) => detail.data.n === 8049 && bus.close());
            await state('closed');
            await fetch('/key');
            const numbers = log.filter(({type}) => type === 'event').map(({data}) => data.n);
            return [numbers.length, numbers.every((n, index) => n === index)];
        """
        assert await self.run_page(script) == [8050, True]

    async def test_a_listener_that_throws_harms_no_other(self) -> None:
        def opened(client: Any) -> None:
            client.sendMessage(tera_event([{"n": 1}, {"n": 2}]))

        server = self.wild(opened)
        await self.show(server.number)
        script = """
            let thrown = 0;
            addEventListener('error', () => thrown += 1);
            const made = new OpenteraBus({url: arguments[0], key: () => 'k'});
            for (const type of ['event', 'statechange']) {
              made.addEventListener(type, () => { throw type; });
              made.addEventListener(type, ({detail}) => keep(type, detail));
            }
            await of('event', 2);
            made.close();
            return [thrown, log.length];
        """
        thrown, kept = await self.run_page(script, f"ws://127.0.0.1:{server.number}/")
        assert (thrown, kept) == (5, 5)

    async def test_listeners_may_close_it_at_any_time(self) -> None:
        server = self.wild(lambda client: client.sendMessage(tera_event([{"n": 1}, {"n": 2}])))
        await self.show(server.number)
        for when, kept in (
            ("connecting", ["connecting", "closed"]),
            ("open", ["connecting", "open", "closed"]),
            ("event", ["connecting", "open", "event", "closed"]),
            ("waiting", ["connecting", "waiting", "closed"]),
            ("error", ["connecting", "waiting", "error", "closed"]),
        ):
            script = """
                const when = arguments[0];
                log.length = 0;
                start({key: () => ['waiting', 'error'].includes(when) ? '' : 'k', minDelay: 50});
                for (const type of ['event', 'statechange', 'error']) {
                  bus.addEventListener(type, ({detail}) => {
                    if ((detail.state ?? type) === when) bus.close();
                  });
                }
                await state('closed');
                await fetch('/key');
                return log.map((entry) => entry.state ?? entry.type);
            """
            found = await self.run_page(script, when)
            assert found == kept, when

    async def test_only_a_lasting_connection_resets_the_back_off(self) -> None:
        await self.show(self.wild(lambda client: client.sendCloseFrame(code=1012)).number)
        for steady_after, expected in ((HOUR, [1, 2, 3, 4, 5]), (0, [1, 1, 1, 1, 1])):
            script = """
                log.length = 0;
                start({steadyAfter: arguments[0]});
                const found = await state('waiting', 5);
                bus.close();
                return found.map(({failures, delay}) => [failures, delay]);
            """
            found = (await self.run_page(script, steady_after))[:5]
            assert [failures for failures, _ in found] == expected
            for failures, delay in found:
                longest = min(50, 2**failures)
                assert longest / 2 <= delay <= longest

    async def test_default_delays_grow_from_half_a_second_to_thirty(self) -> None:
        await self.show(1)
        script = """
            const delays = [];
            const made = new OpenteraBus({url: 'ws://127.0.0.1:1/', key: () => ''});
            await new Promise((resolve) => made.addEventListener('statechange', ({detail}) => {
              if (detail.state !== 'waiting') return;
              if (delays.push(detail.delay) === 12) { made.close(); resolve(); }
              else dispatchEvent(new Event('online'));
            }));
            return delays;
        """
        delays = await self.run_page(script)
        assert 500 <= delays[0] <= 1000
        assert all(15_000 <= delay <= 30_000 for delay in delays[5:])

    async def test_online_and_visible_events_reconnect_at_once(self) -> None:
        await self.show(self.wild().number)
        start = """
            const key = () => log.push({asked: 1}) && window.answer;
            start({minDelay: 3600000, maxDelay: 3600000, key});
            await state('waiting');
        """
        await self.run_page(start)
        for offline in (True, False):
            await self.switch_network(offline=offline)
        await self.run_page("await state('waiting', 2)")
        visibility = """
            const now = {value: arguments[0], configurable: true};
            Object.defineProperty(document, 'visibilityState', now);
            document.dispatchEvent(new Event('visibilitychange'));
            return log.filter(({asked}) => asked).length;
        """
        assert await self.run_page(visibility, "hidden") == 2
        await self.run_page("window.answer = 'key'")
        assert await self.run_page(visibility, "visible") == 3
        await self.run_page("await state('open')")
        assert await self.run_page(visibility, "visible") == 3


class OptionTests(ClientTestCase):
    async def test_mistakes_are_refused_at_once(self) -> None:
        await self.show(1)
        for options, error in (
            ("{key}", "TypeError: url: "),
            ("{url: 'http://['}", "TypeError: url: must be a URL"),
            ("{url: 'ftp://h/?id=SECRET'}", "TypeError: url: must begin with wss: or ws:"),
            ("{url: 'wss://h/?id=SECRET', key}", "TypeError: url: contains a session key"),
            ("{url: 'wss://h/?recover=SECRET', key}", "TypeError: url: contains a session key"),
            ("{url: 'wss://h/'}", "TypeError: key: "),
            ("{url: 'wss://h/', key: 'SECRET'}", "TypeError: key: "),
            ("{url, key, minDelay: 0}", "RangeError: minDelay: "),
            ("{url, key, minDelay: 2, maxDelay: 1}", "RangeError: maxDelay: "),
            ("{url, key, maxDelay: Infinity}", "RangeError: maxDelay: "),
            ("{url, key, timeout: '1'}", "RangeError: timeout: "),
            ("{url, key, steadyAfter: NaN}", "RangeError: steadyAfter: "),
        ):
            script = f"const url = 'wss://h/', key = () => ''; new OpenteraBus({options})"
            with pytest.raises(AssertionError) as caught:
                await self.run_page(script)
            assert str(caught.value).startswith(error), options
            assert "SECRET" not in str(caught.value)

    async def test_a_url_may_be_relative_and_of_http(self) -> None:
        server = self.wild()
        await self.show(server.number)
        for url in (
            f"http://127.0.0.1:{server.number}/wss/user?a=b#c",
            f"//127.0.0.1:{server.number}/x",
        ):
            script = """
                log.length = 0;
                start({url: arguments[0], key: () => 'k+&=%'});
                await state('open');
                bus.close();
            """
            await self.run_page(script, url)
        assert server.requests == ["/wss/user?a=b&id=k%2B%26%3D%25", "/x?id=k%2B%26%3D%25"]


class DocumentationTests(ClientTestCase):
    async def test_the_page_of_the_documentation_works(self) -> None:
        await self.start_gateway()
        bus = await self.bus()
        self.keys = SessionKeys(bus)
        self.asked = Collector()
        text = (ROOT / "docs" / "reference" / "browser.md").read_text()
        (page,) = re.findall(r"^```html\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        page = page.replace('"/wss/user"', f'"ws://127.0.0.1:{self.port}/wss/user"')
        client = (ROOT / "opentera_twisted" / "admin" / "opentera-bus.js").read_bytes()
        url = self.serve(
            {
                "": Page(page.encode, "text/html"),
                "login": Page(lambda: self.key().addCallback(str.encode)),
                "events": Page(lambda: b"[]"),
                "opentera-bus.js": Page(lambda: client, "text/javascript"),
            }
        )
        shown = """
            const wanted = arguments[0];
            while (!document.body.innerText.includes(wanted)) {
              await new Promise((resolve) => new MutationObserver(resolve).observe(
                document.body, {childList: true, subtree: true, characterData: true}));
            }
        """
        await self.browser.open(url)
        await self.run_page(shown, "open")
        await self.bus_.publish_event(TOPIC, UserEvent(user_fullname="<b>Zoé</b>"))
        await self.run_page(shown, "<b>Zoé</b>")
