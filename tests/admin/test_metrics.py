"""The metrics page: it counts events and names no person."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from opentera_twisted import Procedures, SessionKeys
from opentera_twisted._internal.histogram import BOUNDS, Histogram
from opentera_twisted.admin.history import BEATS, COARSE, INTERVAL, KEPT, Sampler
from opentera_twisted.errors import BusError
from tests.helpers.admin import AdminTestCase, Asking
from tests.helpers.support import UUID, start_server, until
from tests.helpers.websockets import connect


@given(st.lists(st.floats(0, 100)))
def test_each_duration_is_counted_up_to_each_bound_above_it(seconds: list[float]) -> None:
    durations = Histogram()
    for value in seconds:
        durations.add(value)
    for bound, count in durations.cumulative():
        assert count == sum(value <= bound for value in seconds)
    assert len(list(durations.cumulative())) == len(BOUNDS) + 1
    assert abs(durations.total - sum(seconds)) < 1e-6


class MetricsTests(AdminTestCase):
    async def listening(self) -> tuple[Asking, int]:
        """Start an endpoint; return it with the port of its gateway's websockets."""
        admin = await self.admin(bus=await self.bus(self.gateway_url))
        admin.gateway.startService()
        self.addCleanup(admin.gateway.stopService)
        port: Any = reactor.listenTCP(0, admin.gateway.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return admin, port.getHost().port

    async def test_calls_are_counted_by_outcome_and_timed(self) -> None:
        admin = await self.admin()
        procedures = Procedures()

        @procedures.expose
        def divide(a: int, b: int) -> float:
            return a / b

        never: Deferred[int] = Deferred()

        @procedures.expose
        def wait() -> Any:
            return never

        await admin.bus.serve_service("Sum", procedures)
        await admin.bus.call_service("Sum", "divide", 6, 3)
        for service, *call in (
            ("Nobody", "divide"), ("Sum", "multiply"),
            ("Sum", "divide", 1), ("Sum", "divide", 1, 0),
        ):  # fmt: skip
            with self.assertRaises(BusError):
                await admin.bus.call_service(service, *call)
        with self.assertRaises(BusError):
            await admin.bus.call_service("Sum", "wait", timeout=0.01)
        cancelled = admin.bus.call_service("Sum", "wait")
        assert (await admin.metrics())["opentera_bus_calls_in_flight"] == 1
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        self.flushLoggedErrors(ZeroDivisionError)
        found = await admin.metrics()
        never.callback(0)
        for outcome in (
            "returned", "no_responder", "unknown_procedure", "arguments_rejected",
            "procedure_failed", "timeout", "cancelled",
        ):  # fmt: skip
            assert found[f'opentera_bus_calls_total{{outcome="{outcome}"}}'] == 1, outcome
        assert found['opentera_bus_calls_total{outcome="interrupted"}'] == 0
        assert found["opentera_bus_call_seconds_count"] == 4
        assert found["opentera_bus_calls_in_flight"] == 0

    async def test_served_calls_stay_counted_after_their_server_stopped(
        self,
    ) -> None:
        admin = await self.admin()
        for version in ("1", "2"):
            procedures = Procedures(version)
            procedures.expose(name="divide")(lambda a, b: a / b)
            server = await admin.bus.serve_service("Sum", procedures)
            await admin.bus.call_service("Sum", "divide", 6, 3)
            for arguments in (("multiply",), ("divide", 1), ("divide", 1, 0)):
                with self.assertRaises(BusError):
                    await admin.bus.call_service("Sum", *arguments)
            await admin.bus.call_service("Sum", "opentera.ping")
            await server.stop()
        self.flushLoggedErrors(ZeroDivisionError)
        found = await admin.metrics()
        for outcome, count in {
            "returned": 2, "unknown_procedure": 2, "invalid_arguments": 2, "procedure_failed": 2,
            "overloaded": 0, "bad_request": 0,
        }.items():  # fmt: skip
            name = f'opentera_bus_calls_served_total{{outcome="{outcome}"}}'
            assert found[name] == count, outcome
        assert found["opentera_bus_call_served_seconds_count"] == 4

    async def test_commands_are_counted_by_name_and_some_are_timed(self) -> None:
        admin = await self.admin()
        before = await admin.metrics()
        for _ in range(32):
            await admin.bus.variables.get("a")
        with self.assertRaises(BusError):
            await admin.bus.link.execute("INCR", "a", "b")
        found = await admin.metrics()
        assert found['opentera_bus_commands_total{command="GET",connection="client"}'] == 32
        # A server that has not seen a script refuses its hash once; that is not under test.
        refused = 'opentera_bus_commands_failed_total{reason="refused"}'
        assert found[refused] - before[refused] == 1
        name = 'opentera_bus_command_seconds_count{connection="client"}'
        assert found[name] - before[name] == 2

    async def test_the_link_is_shown_with_its_reconnects_and_gaps(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        admin = await self.admin(bus=bus)
        found = await admin.metrics()
        assert found["opentera_bus_link_ready"] == 1
        assert found['opentera_bus_link_state{connection="client",state="ready"}'] == 1
        server.stop()
        await until(admin.metrics, lambda one: not one["opentera_bus_link_ready"])
        server.start()
        await bus.connected()
        found = await admin.metrics()
        for connection in ("client", "subscriber"):
            label = f'{{connection="{connection}"}}'
            assert found[f"opentera_bus_link_reconnects_total{label}"] == 1
            assert found[f"opentera_bus_link_failures_total{label}"] >= 1
        assert found["opentera_bus_link_gaps_total"] == 1
        wanted, acknowledged = "subscriptions_wanted", "subscriptions_acknowledged"
        assert found[f"opentera_bus_{wanted}"] == found[f"opentera_bus_{acknowledged}"] == 1

    async def test_messages_and_clients_are_counted_and_nobody_is_named(self) -> None:
        admin, port = await self.listening()
        keys = SessionKeys(await self.bus())
        key = await keys.issue("user", UUID, topics=["service.News.events"])
        client = await connect(port, f"/wss/user?id={key}")
        before = await admin.metrics()
        await admin.bus.publish(f"websocket.user.{UUID}.events", "junk")
        found = await until(
            admin.metrics, lambda one: one["opentera_bus_client_messages_dropped_total"] == 1
        )
        for name in ("opentera_bus_received_total", "opentera_bus_published_total"):
            assert found[name] - before[name] == 1
        assert found['opentera_bus_clients{kind="user"}'] == 1
        assert found['opentera_bus_logins_total{outcome="accepted"}'] == 1
        text = (await admin.ask("/metrics")).body.decode()
        for secret in (UUID, key, key[:20], "News"):
            assert secret not in text
        client.sendClose()
        await client.closed

    async def test_names_share_a_prefix_and_have_help_and_unit(self) -> None:
        text = (await (await self.admin()).ask("/metrics")).body.decode()
        families = list(text_string_to_metric_families(text))
        names = {family.name for family in families}
        assert {
            "opentera_bus_reactor_delay_seconds", "opentera_bus_clients", "opentera_bus_limited",
            "opentera_bus_client_backlog_bytes", "opentera_bus_slow_clients_closed",
            "opentera_bus_frames_delivered", "opentera_bus_process_open_fds",
        } <= names  # fmt: skip
        for family in families:
            assert family.name.startswith("opentera_bus"), family.name
            assert family.documentation.endswith("."), family.name
            if re.search("seconds|delay|since", family.name):
                assert family.name.endswith("_seconds"), family.name


class PulseTests(AdminTestCase):
    async def test_a_late_reactor_is_noticed_and_the_history_is_bounded(self) -> None:
        admin = await self.admin()
        clock = Clock()
        sampler = Sampler(admin.bus, admin.gateway)
        sampler._clock = clock
        sampler.start()
        clock.pump([INTERVAL] * BEATS)
        assert sampler.taken == 1
        assert sampler.after(0)[0]["delay"] == 0
        clock.advance(INTERVAL + 2)  # it was blocked for two seconds
        clock.pump([INTERVAL] * (BEATS - 1))
        assert [sample["delay"] for sample in sampler.after(1)] == [2.0]
        assert [count for _, count in sampler.delay.cumulative()][-1] == 2 * BEATS
        for _ in range(KEPT):
            clock.pump([INTERVAL] * BEATS)
        assert len(sampler.after(0)) == KEPT
        hour = sampler.hour()
        assert len(hour) == sampler.taken // COARSE
        assert hour[0]["delay"] == 2.0  # the greatest, not the mean
        assert sampler.after(sampler.taken) == sampler.after(sampler.taken + 99) == []
        sampler.stop()
        assert not clock.getDelayedCalls()
