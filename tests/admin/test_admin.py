"""The admin endpoint: health, the client for browsers, and common response headers."""

from __future__ import annotations

from datetime import datetime

from twisted.internet import reactor

from opentera_twisted import Bus
from opentera_twisted.admin.site import MAX_BODY
from opentera_twisted.gateway.recovery import OUTCOMES
from tests.helpers.admin import AdminTestCase, Answer
from tests.helpers.support import ROOT, folder_of, start_server, until

CLIENT = ROOT / "opentera_twisted" / "admin" / "opentera-bus.js"


class JavaScriptClientTests(AdminTestCase):
    async def ask(self, method: str = "GET", **headers: str) -> Answer:
        return await (await self.admin()).ask("/opentera-bus.js", method, **headers)

    async def test_any_origin_may_import_the_client_as_a_module(self) -> None:
        answer = await self.ask(Host="cdn.example.org", Sec_Fetch_Site="cross-site")
        assert answer.status == 200
        assert answer.body == CLIENT.read_bytes()
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"

    async def test_the_client_is_cached_and_revalidated(self) -> None:
        first = await self.ask()
        assert first.headers["Cache-Control"] == "public, no-cache"
        again = await self.ask(If_None_Match=first.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        other = await self.ask(If_None_Match='"another"')
        assert (other.status, other.body) == (200, CLIENT.read_bytes())

    async def test_head_and_post(self) -> None:
        head = await self.ask("HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["ETag"]
        assert (await self.ask("POST")).status == 405


class HealthTests(AdminTestCase):
    async def test_a_ready_link_is_200_with_details(self) -> None:
        admin = await self.admin()
        await admin.bus.subscribe("service.A.events", lambda _: None)
        known = await until(lambda: admin.ask("/health"), lambda one: b"valkey" in one.body)
        assert known.status == 200
        assert known.headers["Content-Type"] == "application/json"
        assert known.headers["Cache-Control"] == "no-store"
        page = known.json()
        assert page["status"] == "ready"
        assert page["redis"]["client"] == page["redis"]["subscriber"] == "ready"
        assert page["redis"]["reconnects"] == {"client": 0, "subscriber": 0}
        assert "cause" not in page["redis"]
        times = [page["since"], page["started"], *page["redis"]["since"].values()]
        assert all(datetime.fromisoformat(stamp).tzinfo for stamp in times)
        assert page["since"] == max(page["redis"]["since"].values())
        assert page["subscriptions"] == {"wanted": 2, "acknowledged": 2}  # and those of replies
        assert page["clients"] == {"user": 0, "participant": 0, "device": 0}
        assert page["recovery"] == {"away": 0, "bytes": 0, "outcomes": dict.fromkeys(OUTCOMES, 0)}
        assert page["versions"].keys() == {"opentera-twisted", "python", "twisted", "redis"}
        assert page["versions"]["redis"].startswith("valkey 9")

    async def test_without_redis_it_is_503_with_the_cause_and_live_is_200(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        admin = await self.admin(bus=bus)
        server.stop()
        away = await until(
            lambda: admin.ask("/health"),
            lambda one: "refused" in one.json()["redis"].get("cause", ""),
        )
        assert away.status == 503
        assert away.json()["status"] == "unavailable"
        assert away.json()["subscriptions"] == {"wanted": 1, "acknowledged": 0}
        live = await admin.ask("/health/live", Host="any.example.org")
        assert (live.status, live.json()) == (200, {"status": "live"})
        server.start()
        await bus.connected()
        answer = await until(lambda: admin.ask("/health"), lambda one: one.status == 200)
        back = answer.json()
        assert back["redis"]["reconnects"] == {"client": 1, "subscriber": 1}
        assert back["redis"]["gaps"] == 1
        assert "cause" not in back["redis"]

    async def test_a_replica_is_503(self) -> None:
        server = start_server(self)
        admin = await self.admin(bus=await self.bus(server.url))
        with server.client() as client:
            client.replicaof("127.0.0.1", 1)
            page = await until(lambda: admin.ask("/health"), lambda one: one.status == 503)
            assert page.json()["status"] == "unavailable"
            assert page.json()["redis"]["client"] == "ready"
            assert "READONLY" in page.json()["redis"]["cause"]
            client.replicaof("NO", "ONE")
        back = await until(lambda: admin.ask("/health"), lambda one: one.status == 200)
        assert "cause" not in back.json()["redis"]

    async def test_a_cluster_that_is_down_is_503(self) -> None:
        directory = folder_of(self)
        server = start_server(self, "--cluster-enabled", "yes", "--dir", str(directory))
        admin = await self.admin(bus=await self.bus(server.url))
        page = await until(lambda: admin.ask("/health"), lambda one: one.status == 503)
        assert "CLUSTERDOWN" in page.json()["redis"]["cause"]

    async def test_a_password_of_redis_is_not_shown(self) -> None:
        server = start_server(self, "--requirepass", "s3same-open")
        bus = Bus(server.url.replace("//", "//:s3same-open@"), reactor=reactor)
        bus.startService()
        self.addCleanup(bus.stopService)
        await bus.connected()
        admin = await self.admin(bus=bus)
        for path in ("/health", "/metrics", "/api/state", "/api/console"):
            assert b"s3same" not in (await admin.ask(path)).body


class AnswerTests(AdminTestCase):
    async def test_every_response_has_restrictive_security_headers(self) -> None:
        admin = await self.admin()
        for path in ("/", "/health", "/metrics", "/api/state", "/console.js", "/nothing-is-here"):
            headers = (await admin.ask(path)).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "connect-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"

    async def test_a_long_body_is_refused_and_dropped(self) -> None:
        admin = await self.admin(console="write")
        answer = await admin.post("/api/call", "x" * MAX_BODY)
        assert answer.status == 413

    async def test_without_a_console_there_is_health_and_metrics(self) -> None:
        admin = await self.admin(console="off")
        for path in ("/", "/console.js", "/login", "/api/state", "/api/traffic", "/api/services"):
            assert (await admin.ask(path)).status == 404, path
        for path in ("/health", "/metrics", "/opentera-bus.js"):
            assert (await admin.ask(path)).status == 200, path
