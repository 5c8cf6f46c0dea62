"""The API of the console page: traffic, services, calls, keys and error messages."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from http import HTTPStatus
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from opentera_twisted import ProcedureError, Procedures, SessionKeys
from opentera_twisted.admin import LocalOverview, traffic
from opentera_twisted.admin import procedures as figures
from opentera_twisted.admin.console import Console
from opentera_twisted.admin.guard import Guard
from opentera_twisted.admin.incidents import QUIET, Incidents
from opentera_twisted.admin.own_traffic import OwnTraffic
from opentera_twisted.admin.requests import parse_call, parse_key
from opentera_twisted.errors import CommandFailed, InvalidArgument, ProcedureFailed
from opentera_twisted.gateway import Gateway, all_gateways
from opentera_twisted.gateway.gateway import MOST_CAUSES
from opentera_twisted.gateway.joining import guarded
from opentera_twisted.gateway.login import Refusal, parse_login
from opentera_twisted.gateway.trusted_proxies import Peer
from opentera_twisted.link.subscriptions import SubscriptionTable
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.decoding import DEEPEST
from opentera_twisted.program.gateway_service import GatewayService
from opentera_twisted.topics import GATEWAY_SERVICE
from tests.helpers.admin import AdminTestCase, Asking
from tests.helpers.existing import ExistingServer
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    UUID,
    console_additions,
    log_of,
    start_server,
    start_with_acl,
    until,
)
from tests.helpers.websockets import connect

TOPIC = f"websocket.user.{UUID}.events"


def call(**changes: Any) -> bytes:
    asked = {"server": "service.A", "procedure": "add", "arguments": [], "timeout": 1}
    return json.dumps({**asked, **changes}).encode()


class TestAsked:
    def test_arguments_have_the_declared_type(self) -> None:
        given = [
            ("bool", "true", True), ("bool", "false", False), ("int", " -7 ", -7),
            ("int", str(2**64 - 1), 2**64 - 1), ("float", "1", 1.0), ("str", "", ""),
            ("bytes", "00 FF", b"\x00\xff"),
        ]  # fmt: skip
        arguments = [{"type": kind, "value": text} for kind, text, _ in given]
        found = parse_call(call(arguments=arguments)).arguments
        assert found == tuple(value for *_, value in given)
        assert [type(entry) for entry in found] == [type(value) for *_, value in given]

    @pytest.mark.parametrize(
        ("kind", "text", "expected"),
        [
            ("bool", "yes", "argument 1 must be true or false"),
            ("int", "1.5", "argument 1 must be a whole number, not '1.5'"),
            ("int", "1" * 5000, "argument 1 must be a whole number, not '1{49}…'"),
            ("float", "inf", "argument 1 must be a number"),
            ("bytes", "xyz", "argument 1 must be hexadecimal"),
            ("list", "", "argument 1: type must be one of bool, int, float, str, bytes"),
            (["int"], "", "argument 1: type must be one of"),
            ("int", 1, "argument 1 must be an object with a type, and a value as text"),
        ],
    )
    def test_an_invalid_argument_is_explained(self, kind: Any, text: Any, expected: str) -> None:
        with pytest.raises(InvalidArgument, match=expected):
            parse_call(call(arguments=[{"type": kind, "value": text}]))

    def test_an_error_names_the_argument(self) -> None:
        wrong = {"type": "int", "value": "soon", "name": "minutes"}
        with pytest.raises(InvalidArgument, match=r"^minutes must be a whole number, not 'soon'$"):
            parse_call(call(arguments=[wrong]))
        for name in ("x" * 51, "", "a\nb", ["a"]):
            with pytest.raises(InvalidArgument, match=r"^argument 1 must be"):
                parse_call(call(arguments=[{**wrong, "name": name}]))

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"server": "A"}, "not a server"),
            ({"server": "service.a*b"}, "cannot be a name"),
            ({"procedure": " "}, "procedure is missing"),
            ({"arguments": {}}, "arguments must be a list"),
            ({"timeout": 0}, "timeout"),
            ({"timeout": 61}, "at most 60 seconds"),
            ({"timeout": True}, "timeout"),
            ({"timeout": float("nan")}, "timeout"),
        ],
    )
    def test_an_invalid_call_is_explained(self, changes: dict[str, Any], expected: str) -> None:
        with pytest.raises(InvalidArgument, match=expected):
            parse_call(call(**changes))

    def test_a_body_must_be_a_json_object(self) -> None:
        for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
            with pytest.raises(InvalidArgument, match="JSON object"):
                parse_key(body)
        with pytest.raises(InvalidArgument, match="one of user, participant, device"):
            parse_key(b'{"kind": "admin"}')


class TrafficTests(AdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(traffic, "WATCH_LEASE", GUARD)

    async def watch(self, admin: Asking, patterns: str = "", **query: int) -> Any:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        if patterns:
            asked += f"&patterns={patterns.replace(' ', '+').replace('*', '%2A')}"
        return (await admin.ask(f"/api/traffic?{asked}")).json()

    async def patterns(self) -> int:
        count: int = await deferToThread(self.redis.pubsub_numpat)
        return count

    async def test_traffic_is_subscribed_only_while_a_page_polls(self) -> None:
        admin = await self.admin()
        assert self.redis.pubsub_numpat() == 0
        page = await self.watch(admin)
        assert (page["count"], page["messages"]) == (0, [])
        assert self.redis.pubsub_numpat() == 3
        assert (await admin.ask("/api/state")).json()["watched"] == [traffic.DEFAULT_PATTERNS]
        self.patch(traffic, "WATCH_LEASE", 0.2)
        await self.watch(admin)
        await until(self.patterns, lambda count: count == 0)

    async def test_messages_are_decoded_once_and_numbered(self) -> None:
        admin = await self.admin()
        first = await self.watch(admin)
        await admin.bus.publish_event(TOPIC, UserEvent(user_fullname="Zoé"))
        # It matches two of the patterns.
        await admin.bus.publish("module.A.events.messages", "twice")
        await admin.bus.publish("module.A.events.messages", "twice")
        page = await until(
            lambda: self.watch(admin, serial=first["serial"]), lambda one: one["count"] == 3
        )
        event, *texts = page["messages"]
        assert event["topic"] == TOPIC
        assert (event["form"], event["summary"]) == ("TeraEvent", "UserEvent")
        assert event["body"]["messages"][0]["userFullname"] == "Zoé"
        assert [message["body"] for message in texts] == ["twice", "twice"]
        topics = [(topic["topic"], topic["count"], topic["bytes"]) for topic in page["topics"]]
        assert topics[0] == ("module.A.events.messages", 2, 10)
        assert (await self.watch(admin, serial=page["serial"], after=2))["messages"] == [texts[1]]
        assert len((await self.watch(admin, serial=999, after=2))["messages"]) == 3

    async def test_a_filter_selects_messages_at_the_server(self) -> None:
        admin = await self.admin()
        await self.watch(admin)
        await admin.bus.publish_event(TOPIC, UserEvent(user_fullname="Needle"))
        for number in range(traffic.SHOWN_MESSAGES):
            await admin.bus.publish("service.A.events", f"noise {number}")
        total = traffic.SHOWN_MESSAGES + 1
        await until(lambda: self.watch(admin), lambda page: page["count"] == total)
        for text in ("needle", "USER."):  # in a payload, in a topic
            page = (await admin.ask(f"/api/traffic?filter={text}")).json()
            assert (page["count"], page["matching"], page["skipped"]) == (total, 1, 0)
            (message,) = page["messages"]
            assert message["preview"] == "userFullname: Needle, type: USER_UNKNOWN"
        for number in range(traffic.MOST_FILTERS):
            await admin.ask(f"/api/traffic?filter={number}")
        again = (await admin.ask("/api/traffic?filter=needle")).json()
        assert again["serial"] > page["serial"]  # it was dropped, and begins again
        assert again["matching"] == 1
        assert (await admin.ask(f"/api/traffic?filter={'x' * 201}")).status == 400

    async def test_a_filter_matches_its_own_text(self) -> None:
        admin = await self.admin()
        await self.watch(admin)
        await admin.bus.publish("service.A.events", "bonjour Élodie")
        await admin.bus.publish("service.Élodie.events", "x")
        await until(lambda: self.watch(admin), lambda page: page["count"] == 2)
        for text in ("Élodie", "ÉLODIE"):
            page = (await admin.ask(f"/api/traffic?filter={quote(text)}")).json()
            assert page["matching"] == 2, text

    async def test_topics_of_recovery_are_not_shown(self) -> None:
        admin = await self.admin()
        await self.watch(admin, "*")
        await admin.bus.publish("opentera.recovery.reply.secret", "opentera.recovery.frames.secret")
        await admin.bus.publish("last", "x")
        page = await until(
            lambda: self.watch(admin, "*"),
            lambda page: any(topic["topic"] == "last" for topic in page["topics"]),
        )
        assert "opentera.recovery" not in str(page)

    async def test_calls_are_shown_only_on_request(self) -> None:
        admin = await self.admin()
        assert not (await self.watch(admin))["hearsCalls"]
        with self.assertRaises(Exception) as caught:
            await admin.bus.call_service("Nobody", "add", timeout=5)
        assert type(caught.exception).__name__ == "NoResponder"
        for patterns in ("*", "service.A.*", "*.rpc"):
            assert (await self.watch(admin, patterns))["hearsCalls"], patterns

    async def test_kept_and_shown_messages_are_bounded(self) -> None:
        admin = await self.admin()
        await self.watch(admin, "*.events")
        count = traffic.KEPT_MESSAGES + 10
        topics = [f"service.A{number % 501}.events" for number in range(count)]
        with patch.object(traffic, "KEPT_TOPICS", 20):
            await gatherResults([admin.bus.publish(topic, "x") for topic in topics])
            await admin.bus.publish("service.B.events", "x" * (traffic.KEPT_BYTES + 1))
            page = await until(
                lambda: self.watch(admin, "*.events"), lambda one: one["count"] == count + 1
            )
        assert len(page["messages"]) == traffic.SHOWN_MESSAGES
        assert page["messages"][-1]["summary"] == "too long to show"
        assert page["skipped"] == count + 1 - traffic.SHOWN_MESSAGES
        assert len(page["topics"]) == 20

    async def test_large_messages_are_shown_a_few_at_a_time(self) -> None:
        admin = await self.admin()
        await self.watch(admin, "*.events")
        size = traffic.KEPT_BYTES
        for _ in range(8):
            await admin.bus.publish("service.B.events", "x" * size)
        page = await until(lambda: self.watch(admin, "*.events"), lambda one: one["count"] == 8)
        assert len(page["messages"]) == traffic.SHOWN_BYTES // size
        assert page["skipped"] == 8 - len(page["messages"])

    async def test_a_long_topic_is_cut(self) -> None:
        admin = await self.admin()
        await self.watch(admin, "*.events")
        for end in "ab":
            await admin.bus.publish(f"service.{'x' * 5000}{end}.events", "y")
        page = await until(lambda: self.watch(admin, "*.events"), lambda one: one["count"] == 2)
        (topic,) = page["topics"]
        assert topic["count"] == 2
        names = {topic["topic"], *(message["topic"] for message in page["messages"])}
        assert names == {f"service.{'x' * 5000}"[: traffic.LONGEST_TOPIC - 1] + "…"}

    async def test_the_number_of_watches_is_limited(self) -> None:
        admin = await self.admin()
        for number in range(traffic.MOST_WATCHES):
            await self.watch(admin, f"service.A{number}.*")
        answer = await admin.ask("/api/traffic?patterns=service.B.events")
        assert answer.status == 429
        assert "in use" in answer.json()["message"]
        assert (await admin.ask("/api/traffic?patterns=service.A0.*")).status == 200

    async def test_an_invalid_pattern_is_explained(self) -> None:
        admin = await self.admin()
        for wrong in ("%20", "a+b+c+d+e", "x" * 201, "a%00b"):
            answer = await admin.ask(f"/api/traffic?patterns={wrong}")
            assert answer.status == 400, wrong
            assert "pattern" in answer.json()["message"]

    async def test_a_refusal_of_redis_is_explained_and_cleaned_up(self) -> None:
        server = start_server(self)
        with server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "default", "resetchannels", "&*.events", "&Red*"
            )
        admin = await self.admin(bus=await self.bus(server.url))
        answer = await admin.ask("/api/traffic")
        assert answer.status == 403
        for rule in ("+psubscribe", "+punsubscribe", "&*.events", "&*.events.*", "&*.messages"):
            assert f" {rule} " in f"{answer.json()['message']} "
        with server.client() as client:
            assert client.pubsub_numpat() == 0
        assert (await admin.ask("/api/traffic?patterns=*.events")).status == 200

    async def test_a_gap_is_reported_once(self) -> None:
        server = start_server(self)
        admin = await self.admin(bus=await self.bus(server.url))
        assert (await self.watch(admin))["gaps"] == 0
        server.stop()
        server.start()
        page = await until(lambda: self.watch(admin), lambda one: one.get("gaps"))
        assert page["gaps"] == 1


class ServicesTests(AdminTestCase):
    async def test_services_are_described_and_called(self) -> None:
        admin = await self.admin(console="write", audits=True)
        log = log_of(self)
        procedures = Procedures(version="1.2")

        @procedures.expose
        def add(a: int, b: int = 2) -> int:
            """Adds."""
            return a + b

        assert (await admin.ask("/api/services")).json() == []
        await admin.bus.serve_service("Sum", procedures)
        (found,) = (await admin.ask("/api/services")).json()
        assert found["server"] == "service.Sum"
        (procedure,) = found["description"]["procedures"]
        assert [argument["name"] for argument in procedure["arguments"]] == ["a", "b"]
        asked = {"server": "service.Sum", "procedure": "add", "timeout": 5}
        one = {"type": "int", "value": "40"}
        answer = (await admin.post("/api/call", {**asked, "arguments": [one]})).json()
        assert answer["value"] == 42
        assert answer["seconds"] > 0
        answer = (await admin.post("/api/call", {**asked, "arguments": []})).json()
        assert answer["error"] == "ArgumentsRejected"
        wrong = await admin.post("/api/call", {**asked, "arguments": [{"type": "int"}]})
        assert wrong.status == 400
        assert "argument 1" in wrong.json()["message"]
        lines = [line for line in log.items if line.startswith("console-call")]
        called = "console-call address=127.0.0.1 server='service.Sum' procedure='add' outcome="
        assert [line.removeprefix(called).split()[0] for line in lines] == [
            "returned",
            "ArgumentsRejected",
        ]

    async def test_a_bad_description_is_listed_beside_the_others(self) -> None:
        admin = await self.admin()
        await admin.bus.serve_service("Sum", Procedures())
        bad: dict[str, Any] = {"service": [[]]}
        server = ExistingServer(self.redis, "service.Odd.rpc", **{"opentera.describe": lambda: bad})
        self.addCleanup(server.close)
        await admin.bus.subscribe("service.Odd.rpc", lambda _: None)  # so that it is listed
        found = {
            service["server"]: service for service in (await admin.ask("/api/services")).json()
        }
        assert found["service.Odd"]["description"] is None
        assert "has an invalid form" in found["service.Odd"]["problem"]
        assert found["service.Sum"]["problem"] == ""

    async def test_invalid_json_numbers_never_reach_the_browser(self) -> None:
        admin = await self.admin(console="write")
        deep: Any = []
        for _ in range(DEEPEST):
            deep = [deep]
        server = ExistingServer(
            self.redis, "service.Odd.rpc", endless=lambda: [math.nan, -math.inf], deep=lambda: deep
        )
        self.addCleanup(server.close)
        asked = {"server": "service.Odd", "procedure": "endless", "arguments": []}
        assert (await admin.post("/api/call", asked)).json()["value"] == ["nan", "-inf"]
        answer = (await admin.post("/api/call", {**asked, "procedure": "deep"})).json()
        assert (answer["error"], "nested" in answer["message"]) == ("BadReply", True)

    async def test_simultaneous_requests_share_one_answer(self) -> None:
        admin = await self.admin()
        asked: list[Deferred[Any]] = []

        def services() -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        self.patch(admin.bus, "services", services)
        answers = [Deferred.fromCoroutine(admin.ask("/api/services")) for _ in range(3)]
        await until(lambda: admin.ask("/health"), lambda _: bool(asked))
        await admin.ask("/health")
        asked[0].callback([])
        for answer in answers:
            if len(asked) > 1 and not asked[1].called:  # it came after the first was answered
                asked[1].callback([])
            assert (await answer).json() == []


class ProceduresTests(AdminTestCase):
    async def test_procedures_have_calls_errors_and_percentiles(self) -> None:
        admin = await self.admin()
        self.patch(figures, "FRESH", 0.0)
        procedures = Procedures()

        @procedures.expose
        def halve(number: int) -> float:
            if not number:
                raise ProcedureError("zero")
            return 1 / number

        await admin.bus.serve_service("Math", procedures)
        for number in (1, 0):
            await admin.bus.call_service("Math", "halve", number).addErrback(lambda _: None)
        await admin.bus.call_service("Math", "nothing").addErrback(lambda _: None)
        before = admin.bus.caller.outcomes.total()
        self.patch(figures, "TIMEOUT", GUARD)
        page = (await admin.ask("/api/procedures")).json()
        assert (page["topics"], page["silent"]) == (1, 0)
        refused, halved = page["procedures"]
        assert (refused["procedure"], refused["errors"]) == ("", {"unknown_procedure": 1})
        assert (halved["server"], halved["procedure"]) == ("service.Math", "halve")
        assert (halved["calls"], halved["errors"]) == (2, {"procedure_failed": 1})
        assert 0 < halved["seconds"]["p50"] <= halved["seconds"]["p99"]
        assert admin.bus.caller.outcomes.total() == before

    async def test_a_server_without_figures_is_left_alone_for_a_minute(self) -> None:
        admin = await self.admin()
        self.patch(figures, "FRESH", 0.0)
        self.patch(figures, "TIMEOUT", 0.1)
        await admin.bus.subscribe("service.Silent.rpc", lambda _: None)
        for asked in (1, 0):
            page = (await admin.ask("/api/procedures")).json()
            assert (page["topics"], page["asked"], page["silent"]) == (1, asked, 1)

    def test_figures_of_another_form_count_as_zero(self) -> None:
        figure = {"calls": "x", "seconds": {"p50": math.inf, "p99": True}, "errors": []}
        junk = {"procedures": {"a": figure, "b": None}, "refused": {"c": -1}}
        (refused, row) = figures._rows("service.Odd", [junk, {"procedures": 1}])
        assert (refused["procedure"], refused["calls"]) == ("", 0)
        assert (row["calls"], row["errors"], row["seconds"]) == (0, {}, {})

    async def test_incidents_have_their_times_and_follow_each_other(self) -> None:
        totals = {"gap:": 1}
        incidents = Incidents(lambda: totals)
        incidents.start()
        with patch.object(time, "time", return_value=100.0) as now:
            incidents.update()
            assert incidents.to_json() == []
            totals |= {"gap:": 2, "refused:no such path": 3}
            incidents.update()
            now.return_value += QUIET
            totals["gap:"] = 4
            incidents.update()
            now.return_value += QUIET + 1
            totals["gap:"] = 5
            incidents.update()
        found = [(item["name"], item["count"], item["last"]) for item in incidents.to_json()]
        assert found == [("gap:", 1, 161.0), ("gap:", 3, 130.0), ("refused:no such path", 3, 100.0)]

    async def test_the_page_does_not_count_its_own_traffic(self) -> None:
        bus = await self.bus()
        gateway = Gateway(bus)
        listing = GatewayService(bus, gateway, "edge")
        listing.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(listing.stop()))
        await bus.serve_service("Sum", Procedures())
        overview = LocalOverview(bus, gateway)
        guard = Guard(reactor, None, ())
        console = Console(bus, overview, guard=guard, mode="read", websockets=())
        for module in (all_gateways, figures):
            self.patch(module, "TIMEOUT", GUARD)
        self.patch(bus, "services", partial(bus.services, timeout=GUARD))
        await until(console.gateways, bool)

        def counts() -> dict[str, int]:
            return {
                "published": bus.link.statistics["client"].published,
                "received": bus.pubsub.received,
                "calls": bus.caller.outcomes.total(),
            }

        before, own = counts(), dict(overview.own)
        await console.gateways()
        await console.clients("")
        await console.services()
        await console.figures.page()
        await console.traffic.page("*.events")
        await bus.publish("service.A.events", "x")  # not subscribed, but watched
        await until(lambda: console.traffic.page("*.events"), lambda page: page["count"] == 1)
        console.traffic.stop()
        changed = {name: count - before[name] for name, count in counts().items()}
        counted = {name: overview.own[name] - own.get(name, 0) for name in changed}
        assert changed == {**counted, "published": counted["published"] + 1}
        assert changed["calls"] == 1

    async def test_own_requests_are_counted_without_listing_subscriptions(self) -> None:
        bus = await self.bus()
        await bus.subscribe("service.Here.rpc", print)
        await bus.subscribe_pattern("service.Else?here.rpc", print)
        own = OwnTraffic(bus)
        with patch.object(SubscriptionTable, "wanted", property(lambda _: self.fail("listed"))):
            for topic in ("service.Here.rpc", "service.Elsewhere.rpc", "service.Else?here.rpc"):
                own.asked(topic)
        assert own == {"published": 4, "received": 1}

    async def test_texts_of_other_programs_are_no_causes_of_refused_logins(self) -> None:
        admin = await self.admin()
        peer = Peer("192.0.2.1", secure=False)

        def fail(error: Exception) -> None:
            raise error

        async def refuse(text: str) -> None:
            for error in (LookupError(text), ProcedureFailed(text)):
                with pytest.raises(Refusal, match=text) as resolving:
                    await guarded(Clock(), "identity resolver", fail, error)
                admin.gateway.refused(peer, resolving.value)
            admin.gateway.refused(peer, Refusal.for_error(CommandFailed("GET", text)))

        for number in range(MOST_CAUSES + 10):
            await refuse(f"user {number} of hush")
            with pytest.raises(Refusal) as parsing:
                parse_login("/wss/user?" + "id=&" * (number + 2), peer)
            admin.gateway.refused(peer, parsing.value)
        self.flushLoggedErrors(LookupError)
        invalid = Refusal(HTTPStatus.FORBIDDEN, "the session key is not valid")
        admin.gateway.refused(peer, invalid)
        state = await admin.ask("/api/state")
        causes = {
            name.removeprefix("refused:"): count
            for name, count in state.json()["incidents"].items()
            if name.startswith("refused:")
        }
        assert causes == {
            "the identity resolver failed": 2 * (MOST_CAUSES + 10),
            "an operation of the bus failed: CommandFailed": MOST_CAUSES + 10,
            "not one session key or recovery token in the query": MOST_CAUSES + 10,
            "the session key is not valid": 1,
        }
        assert b"hush" not in state.body

    async def test_causes_of_refused_logins_are_bounded(self) -> None:
        gateway = Gateway(await self.bus())
        peer = Peer("192.0.2.1", secure=False)
        for number in range(2 * MOST_CAUSES):
            gateway.refused(peer, Refusal(HTTPStatus.FORBIDDEN, f"cause {number}"))
            gateway.refused(peer, Refusal(HTTPStatus.BAD_REQUEST, f"mistake {number}"))
        assert len(gateway.refusals) == MOST_CAUSES + 1
        assert gateway.refusals["malformed request"] == 2 * MOST_CAUSES
        assert gateway.refusals["other"] == MOST_CAUSES + 1


class RightsTests(AdminTestCase):
    """Tests as the gateway's user of contrib/redis.acl, which has only a gateway's rights."""

    async def gateways_admin(self, added: str = "") -> Asking:
        server = start_with_acl()
        self.addCleanup(server.stop)
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", GATEWAY, *added.split())
        self.own = await self.bus(server.url_as(GATEWAY))
        return await self.admin(bus=self.own, console="write")

    async def test_each_panel_names_the_missing_right_and_others_work(self) -> None:
        admin = await self.gateways_admin()
        additions = console_additions()
        for path, panel in (("traffic", "topics and their messages"), ("services", "services")):
            for _ in range(2):
                answer = await admin.ask(f"/api/{path}")
                assert answer.status == 403
                assert f" {additions[panel]}" in answer.json()["message"]
        answer = await admin.ask("/api/traffic?patterns=service.*")
        assert "&service.*" in answer.json()["message"]
        assert (await admin.ask("/api/presence")).status == 200
        assert (await admin.ask("/api/state")).json()["health"]["status"] == "ready"
        assert (await admin.post("/api/keys", {"kind": "user", "uuid": UUID})).status == 200
        asked = {"server": "module.A", "procedure": "add", "arguments": []}
        answer = await admin.post("/api/call", asked)
        assert answer.status == 403
        assert "&module.A.rpc" in answer.json()["message"]
        answer = await admin.post("/api/call", {**asked, "server": "service.A"})
        assert answer.json()["error"] == "NoResponder"

    async def test_all_panels_work_with_the_rights_of_the_docs(self) -> None:
        additions = console_additions()
        admin = await self.gateways_admin(
            f"{additions['topics and their messages']} {additions['services']}"
        )
        first = (await admin.ask("/api/traffic")).json()
        await self.own.serve_service("Sum", Procedures())
        await self.own.publish(TOPIC, "a")
        await until(
            lambda: admin.ask(f"/api/traffic?serial={first['serial']}"),
            lambda one: one.json()["count"] == 1,
        )
        (found,) = (await admin.ask("/api/services")).json()
        assert found["server"] == "service.Sum"


class KeyTests(AdminTestCase):
    async def test_a_key_goes_to_the_requesting_page_and_works_once(self) -> None:
        admin = await self.admin(console="write")
        asked = {"kind": "user", "uuid": UUID, "name": "Zoé"}
        answer = (await admin.post("/api/keys", asked)).json()
        for path in ("/api/state", "/api/console", "/health", "/metrics", "/api/traffic"):
            assert answer["key"].encode() not in (await admin.ask(path)).body
        identity = await SessionKeys(admin.bus).redeem("user", answer["key"])
        assert identity is not None
        assert (identity.uuid, identity.name) == (UUID, "Zoé")

    async def test_an_invalid_uuid_is_refused(self) -> None:
        admin = await self.admin(console="write")
        answer = await admin.post("/api/keys", {"kind": "user", "uuid": "x"})
        assert answer.status == 400
        assert "UUID" in answer.json()["message"]


class PresenceTests(AdminTestCase):
    async def test_clients_of_all_gateways_are_listed(self) -> None:
        admin = await self.admin()
        online = (await admin.ask("/api/presence")).json()
        kinds = ("user", "participant", "device")
        assert online == {kind: {"total": 0, "uuids": []} for kind in kinds}
        gateway = Gateway(await self.bus(self.gateway_url))
        gateway.startService()
        self.addCleanup(gateway.stopService)
        port: Any = reactor.listenTCP(0, gateway.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        key = await SessionKeys(admin.bus).issue("user", UUID)
        client = await connect(port.getHost().port, f"/wss/user?id={key}")
        answer = await until(
            lambda: admin.ask("/api/presence"), lambda one: one.json()["user"]["total"] == 1
        )
        assert answer.json()["user"]["uuids"] == [UUID]
        client.sendClose()
        await client.closed


def gateway_that_answers(answer: Any) -> Procedures:
    procedures = Procedures()

    @procedures.expose
    def summary() -> Any:
        return answer

    @procedures.expose
    def clients(search: str, most: int) -> Any:
        return answer

    return procedures


class ClientsTests(AdminTestCase):
    async def test_answers_of_another_form_are_no_gateways(self) -> None:
        admin = await self.admin()
        client = {"kind": "user", "uuid": UUID, "name": "", "address": "", "queued": 0}
        answers = [
            7, {"gateway": ["x"]}, {"gateway": "x"}, {"gateway": "x", "clients": 5},
            {"gateway": "x", "total": "y", "matching": 0, "clients": []},
            {"gateway": "x", "total": 0, "matching": 0, "clients": [5]},
        ]  # fmt: skip
        since = (math.nan, 1e300, 10**400)
        rows = [{}, *({**client, "since": value} for value in since)]
        odd = {"gateway": "x", "total": 3, "matching": 3, "clients": rows, "more": math.nan}
        for answer in [*answers, odd]:
            server = await admin.bus.serve_service(GATEWAY_SERVICE, gateway_that_answers(answer))
            assert (await admin.ask("/api/gateways")).json() == []
            found = (await admin.ask("/api/clients")).json()
            assert found["clients"] == []
            assert found["gateways"] == (answer is odd)
            await server.stop()

    async def test_clients_of_all_gateways_are_listed_and_disconnected(self) -> None:
        bus = await self.bus(self.gateway_url)
        admin = await self.admin(bus=bus, console="write", audits=True)
        log = log_of(self)
        assert (await admin.ask("/api/gateways")).json() == []
        listing = GatewayService(admin.bus, admin.gateway, "edge")
        listing.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(listing.stop()))
        admin.gateway.startService()
        self.addCleanup(admin.gateway.stopService)
        port: Any = reactor.listenTCP(0, admin.gateway.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        key = await SessionKeys(admin.bus).issue("device", UUID)
        client = await connect(port.getHost().port, f"/wss/device?id={key}")

        async def clients(search: str = "") -> Any:
            return (await admin.ask(f"/api/clients?search={search}")).json()

        found = await until(clients, lambda found: found["total"] == 1)
        assert found["clients"][0]["uuid"] == UUID
        assert (await clients("nobody"))["clients"] == []
        (gateway,) = (await admin.ask("/api/gateways")).json()
        assert (gateway["name"], gateway["clients"]["device"]) == ("edge", 1)
        wrong = await admin.post("/api/disconnect", {"kind": "robot", "uuid": UUID})
        assert wrong.status == 400
        answer = await admin.post("/api/disconnect", {"kind": "device", "uuid": UUID})
        assert answer.json() == {"receivers": 1}
        assert (await client.closed)[0] == 4000
        line = f"console-disconnect address=127.0.0.1 kind=device uuid={UUID}"
        assert any(item.startswith(line) for item in log.items)
