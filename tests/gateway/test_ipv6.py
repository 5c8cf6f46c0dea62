"""IPv6 endpoints: peers and hosts, IPv4-mapped and link-local addresses."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from opentera_twisted.admin import LocalOverview, admin_site
from opentera_twisted.gateway import Gateway, GatewayLimits
from tests.helpers.support import GATEWAY, GUARD, UUID, RedisTestCase
from tests.helpers.websockets import drop_bytes, handshake

BAD_KEY = "user." + "k" * 43
TOKEN = "correct-horse-battery-staple"


def link_local() -> str:
    """Return a link-local address of this machine, with its scope."""
    table = Path("/proc/net/if_inet6")
    found = re.search(r"^(fe80\S*) \S+ \S+ \S+ \S+ +(\S+)$", table.read_text(), re.MULTILINE)
    if found is None:
        pytest.skip("no interface of this machine has a link-local address")
    return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(found[1]))}%{found[2]}"


class IPv6Tests(RedisTestCase):
    redis_user = GATEWAY

    async def start(self, **limits: int) -> None:
        bus = await self.bus()
        self.keys = SessionKeys(bus)
        self.gate = Gateway(bus, limits=GatewayLimits(**limits))
        self.gate.startService()
        self.addCleanup(self.gate.stopService)
        self.websocket = self.listen(self.gate.factory)
        self.admin = self.listen(admin_site(bus, LocalOverview(bus, self.gate), token=TOKEN))
        self.addCleanup(drop_bytes)

    def listen(self, factory: Any) -> int:
        services: Any = reactor
        port = services.listenTCP(0, factory, interface="::")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def ask(self, host: str, port: int, request: bytes) -> int:
        """Send a request to an address, and return the status of the answer."""

        def asked() -> int:
            with closing(socket.create_connection((host, port), GUARD)) as connection:
                connection.sendall(request)
                answer = b""
                while b"\r\n\r\n" not in answer:
                    received = connection.recv(4096)
                    assert received, answer
                    answer += received
                return int(answer.split()[1])

        return await deferToThread(asked)

    async def log_in(self, host: str, key: str) -> int:
        return await self.ask(host, self.websocket, handshake(f"/wss/user?id={key}".encode()))

    async def health(self, host: str, token: str = TOKEN) -> int:
        name = host.partition("%")[0]
        name = f"[{name}]" if ":" in name else name
        head = f"GET /metrics HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {token}\r\n\r\n"
        return await self.ask(host, self.admin, head.encode())

    async def failures_of(self, host: str) -> None:
        """Check that invalid credentials are refused and later valid ones accepted."""
        await self.start(failed_logins_per_minute=2)
        assert await self.log_in("::1", BAD_KEY) == 403  # an address has failed
        assert [await self.log_in(host, BAD_KEY) for _ in range(2)] == [403, 403]
        assert await self.log_in(host, BAD_KEY) == 429
        key = await self.keys.issue("user", UUID)
        assert await self.log_in(host, key) == 429
        assert await self.log_in("::1", key) == 101
        assert await self.health(host, "wrong" * 5) == 401
        assert await self.health(host) == 200

    async def test_ipv4_peers_of_ipv6_sockets_are_limited_and_answered(self) -> None:
        await self.failures_of("127.0.0.1")

    async def test_link_local_peers_are_limited_and_answered(self) -> None:
        await self.failures_of(link_local())
