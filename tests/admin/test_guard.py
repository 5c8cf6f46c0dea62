"""Access to the admin endpoint: hosts, pages and tokens."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from twisted.internet.task import Clock

from opentera_twisted.admin.guard import (
    FAILURES_PER_MINUTE,
    MOST_SESSIONS,
    SESSION_LIFETIME,
    Guard,
    Refused,
    host_name,
)
from opentera_twisted.admin.settings import Websockets
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.program.admin_options import check_host, read_token
from tests.helpers.admin import AdminTestCase, Answer, Asking

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:40086", "localhost"),
        ("127.0.0.1:40086", "127.0.0.1"),
        ("[::1]:40086", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("bus.example.org:1", "bus.example.org"),
        ("[::1].evil.example.org", ""),
        ("[::1", ""),
        ("127.0.0.1:40086, evil.example.org", ""),
        ("localhost:evil", ""),
        ("localhost evil.example.org", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("host", ["", "a b", "bus:80", "http://bus", "-bus", "bus/", "*"])
def test_a_host_is_a_name_alone(host: str) -> None:
    with pytest.raises(InvalidArgument, match="expected a host name"):
        check_host(host)


def test_a_token_file_holds_one_long_token(tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(str(file)).text == TOKEN
    for content in ("", "short", "two words that are long enough", f"{TOKEN}\n{TOKEN}", "é" * 20):
        file.write_text(content)
        with pytest.raises(InvalidArgument, match="contains no token") as error:
            read_token(str(file))
        assert content not in str(error.value) or not content
    for unreadable in (str(tmp_path / "nothing"), "a\0b"):
        with pytest.raises(InvalidArgument, match="cannot read"):
            read_token(unreadable)


def test_where_a_test_websocket_connects() -> None:
    assert Websockets.of("tcp:40085:interface=127.0.0.1", certificate=False) == Websockets(
        "ws", 40085
    )
    assert Websockets.of("tcp:port=40085", certificate=True) == Websockets("wss", 40085)
    assert Websockets.of("ssl:443:privateKey=a", certificate=False) == Websockets("wss", 443)
    assert Websockets.of("unix:/run/bus", certificate=False) is None
    assert Websockets.of("tcp:0", certificate=False) is None


class _Request:
    """The parts of a request that the guard reads."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-").lower(): one for name, one in headers.items()}
        self.cookies: dict[str, str] = {}

    def getHeader(self, name: str) -> str | None:
        return self.headers.get(name.lower())

    def getHost(self) -> Any:
        return type("Address", (), {"host": "192.0.2.1", "port": 40086})

    getClientAddress = getHost

    def isSecure(self) -> bool:
        return False

    def addCookie(self, name: str, value: str, **options: Any) -> None:
        self.cookies[name] = value

    def getCookie(self, name: bytes) -> bytes | None:
        value = self.cookies.get(name.decode())
        return None if value is None else value.encode()


@pytest.mark.parametrize(
    ("own", "named", "status"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1:40086", None),
        ("192.0.2.1", "[::ffff:192.0.2.1]:40086", None),
        ("fe80::1%eth0", "[fe80::1]:40086", None),
        ("fe80::1%eth0", "[fe80::1%25eth0]:40086", None),
        ("2001:db8::1", "[2001:DB8:0::1]", None),
        ("::ffff:192.0.2.1", "192.0.2.2", 403),
        ("fe80::1%eth0", "[fe80::2]", 403),
        ("::ffff:192.0.2.1", "evil.example.org", 403),
    ],
)
def test_the_own_address_is_a_host_in_any_form(own: str, named: str, status: int | None) -> None:
    request: Any = _Request(Host=named)
    request.getHost = lambda: type("Address", (), {"host": own})
    found = None
    try:
        Guard(Clock()).check_host(request)
    except Refused as refused:
        found = int(refused.status)
    assert found == status


class TestSessions:
    def test_a_session_ends_in_time(self) -> None:
        clock: Any = Clock()
        guard = Guard(clock, TOKEN)
        request: Any = _Request()
        assert guard.log_in(TOKEN, request)
        assert guard.may_read(request)
        clock.advance(SESSION_LIFETIME)
        assert not guard.may_read(request)

    def test_of_many_sessions_the_oldest_ends(self) -> None:
        guard = Guard(Clock(), TOKEN)
        first: Any = _Request()
        guard.log_in(TOKEN, first)
        for _ in range(MOST_SESSIONS):
            guard.log_in(TOKEN, _Request())
        assert not guard.may_read(first)

    def test_wrong_tokens_are_limited_per_minute(self) -> None:
        clock: Any = Clock()
        guard = Guard(clock, TOKEN)
        for number in range(FAILURES_PER_MINUTE):
            assert not guard.may_read(_Request(Authorization=f"Bearer {number}"))
        with pytest.raises(Refused, match="Too many"):
            guard.may_read(_Request(Authorization=f"Bearer {TOKEN}"))
        clock.advance(60)
        assert guard.may_read(_Request(Authorization=f"Bearer {TOKEN}"))


class HostTests(AdminTestCase):
    async def test_known_host_names_are_answered(self) -> None:
        admin = await self.admin(hosts=["Bus.example.org"])
        for host in ("localhost", "127.0.0.1:1", "127.8.8.8", "[::1]:1", "bus.example.org:1"):
            for path in ("/", "/health", "/metrics", "/api/state"):
                assert (await admin.ask(path, Host=host)).status == 200, (host, path)

    async def test_a_rebound_host_name_is_refused(self) -> None:
        admin = await self.admin(hosts=["bus.example.org"], console="write")
        for host in ("evil.example.org", "192.0.2.7", "[::1].evil.example.org", "x@localhost"):
            for path in ("/", "/health", "/metrics", "/api/state", "/api/console", "/console.js"):
                answer = await admin.ask(path, Host=host)
                assert answer.status == 403, (host, path)
                assert b"--admin-host" in answer.body
                assert host.encode() not in answer.body


class PageTests(AdminTestCase):
    """Requests that change state must come from the own page."""

    async def test_the_own_page_may_change_state(self) -> None:
        admin = await self.admin(console="write")
        answer = await admin.post("/api/call", CALL, Origin=admin.url, Sec_Fetch_Site="same-origin")
        assert answer.status == 200
        assert answer.json()["error"] == "NoResponder"

    async def test_another_page_may_not_change_state(self) -> None:
        admin = await self.admin(console="write")
        body = json.dumps(CALL).encode()
        assert (await admin.ask("/api/call", "POST", body)).status == 403
        assert (await admin.ask("/api/call", "POST", body, X_Opentera_Bus_Token="x")).status == 403
        for headers in (
            {"Origin": "http://evil.example.org"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "none"},
        ):
            token = (await admin.ask("/api/console")).json()["token"]
            answer = await admin.ask(
                "/api/call", "POST", body, X_Opentera_Bus_Token=token, **headers
            )
            assert answer.status == 403, headers

    async def test_another_page_may_not_trigger_requests(self) -> None:
        admin = await self.admin()
        for path in ("/api/traffic", "/api/state", "/api/services", "/metrics"):
            for site in ("cross-site", "same-site"):
                answer = await admin.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")
                assert answer.status == 403, path
        assert not (await admin.ask("/api/state")).json()["watched"]
        link = await admin.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
        assert link.status == 200

    async def test_a_read_only_console_neither_calls_nor_issues_keys(self) -> None:
        admin = await self.admin(console="read")
        assert (await admin.post("/api/call", CALL)).status == 404
        key = {"kind": "user", "uuid": "11111111-2222-3333-4444-555555555555"}
        assert (await admin.post("/api/keys", key)).status == 404
        assert self.redis.dbsize() == 0


CALL = {"server": "service.A", "procedure": "add", "arguments": [], "timeout": 1}


class TokenTests(AdminTestCase):
    async def log_in(self, admin: Asking, token: str, **headers: str) -> Answer:
        body = urlencode({"token": token}).encode()
        return await admin.ask("/login", "POST", body, **headers)

    async def test_without_the_token_only_status_and_form_are_served(self) -> None:
        admin = await self.admin(token=TOKEN, console="write")
        for path in ("/metrics", "/api/state", "/api/console", "/api/traffic", "/api/services"):
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {TOKEN}"},
                {"Authorization": TOKEN},
                {"Cookie": f"opentera_bus_{admin.url.rpartition(':')[2]}={TOKEN}"},
            ):
                answer = await admin.ask(path, **headers)
                assert answer.status == 401, (path, headers)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        health = await admin.ask("/health")
        assert (health.status, health.json()) == (200, {"status": "ready"})
        assert (await admin.ask("/health/live")).status == 200
        assert b'type="password"' in (await admin.ask("/")).body

    async def test_the_token_opens_all_pages(self) -> None:
        admin = await self.admin(token=TOKEN)
        for path in ("/metrics", "/api/state", "/"):
            assert (await admin.ask(path, Authorization=f"Bearer {TOKEN}")).status == 200
        health = await admin.ask("/health", Authorization=f"bearer {TOKEN}")
        assert "redis" in health.json()

    async def test_a_browser_logs_in_once_and_keeps_a_cookie(self) -> None:
        admin = await self.admin(token=TOKEN)
        wrong = await self.log_in(admin, "wrong")
        assert wrong.status == 401
        assert b'id="wrong" class' in wrong.body
        assert "Set-Cookie" not in wrong.headers
        right = await self.log_in(admin, TOKEN, Origin=admin.url)
        assert (right.status, right.headers["Location"]) == (303, "/")
        cookie, *options = right.headers["Set-Cookie"].split("; ")
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(options)
        assert (await admin.ask("/api/state", Cookie=cookie)).status == 200
        assert (await admin.ask("/logout", "POST", b"{}", Cookie=cookie)).status == 403
        assert (await admin.post("/logout", {}, Cookie=cookie)).status == 200
        assert (await admin.ask("/api/state", Cookie=cookie)).status == 401

    async def test_another_page_may_not_log_a_browser_in(self) -> None:
        admin = await self.admin(token=TOKEN)
        answer = await self.log_in(admin, TOKEN, Origin="http://evil.example.org")
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers
