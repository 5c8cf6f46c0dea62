"""``rediss://``: a real handshake with a proxy that decrypts, since the test server has no TLS."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory

from opentera_twisted import ConnectionLost
from opentera_twisted.link import RedisAddress, blocking_connection
from tests.helpers.authority import Authority
from tests.helpers.support import Collector, RedisTestCase, folder_of, start_bus, start_server


class TLSTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)
        self.authority = Authority(self.directory)

    def serve(self, name: str, *, clients: bool = False, server: int = 0) -> int:
        """Start a TLS proxy for the shared or another server, with a certificate for a host."""
        pem = self.authority.issue(name).read_bytes()
        own = PrivateCertificate.loadPEM(pem)
        options = (
            own.options(Certificate.loadPEM(self.authority.file.read_bytes()))
            if clients
            else CertificateOptions(own.privateKey.original, own.original)
        )
        tls: Any = reactor
        port: Any = tls.listenSSL(
            0, ProxyFactory("127.0.0.1", server or self.server.port), options, interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def refused(self, url: str) -> str:
        bus = start_bus(self, url)
        causes = Collector()
        bus.link.on_refused.append(lambda cause: causes(cause.getErrorMessage()))
        cause: str = (await causes.wait(1))[0]
        assert not bus.link.is_ready
        return cause

    async def test_a_given_authority_is_trusted(self) -> None:
        bus = start_bus(
            self, f"rediss://127.0.0.1:{self.serve('127.0.0.1')}/0?ca={self.authority.file}"
        )
        await bus.connected()
        await bus.variables.set("a", "1")
        assert self.redis.get("a") == b"1"
        got = Collector()
        await bus.subscribe("t", got)
        self.redis.publish("t", b"x")
        await got.wait(1)

    async def test_the_default_is_the_systems_trust_store(self) -> None:
        cause = await self.refused(f"rediss://127.0.0.1:{self.serve('127.0.0.1')}")
        assert "certificate verify failed" in cause

    async def test_the_host_name_of_the_server_is_checked(self) -> None:
        port = self.serve("other.example")
        cause = await self.refused(f"rediss://127.0.0.1:{port}?ca={self.authority.file}")
        assert "127.0.0.1" in cause

    async def test_the_client_certificate_is_presented(self) -> None:
        port = self.serve("localhost", clients=True)
        ours = self.authority.issue("client")
        url = f"rediss://localhost:{port}?ca={self.authority.file}"
        bus = start_bus(self, f"{url}&certificate={ours}")
        await bus.connected()
        address = RedisAddress.parse(f"{url}&certificate={ours}")
        assert await deferToThread(blocking_connection.execute, address, "PING") == b"PONG"
        await self.refused(url)
        with pytest.raises(ConnectionLost):
            await deferToThread(blocking_connection.execute, RedisAddress.parse(url), "PING")

    async def test_the_announced_names_of_a_clusters_nodes_are_checked(self) -> None:
        name = ("--cluster-announce-hostname", "localhost")
        kind = ("--cluster-preferred-endpoint-type", "hostname")
        data = ("--dir", str(self.directory))
        server = start_server(self, "--cluster-enabled", "yes", *name, *kind, *data)
        port = self.serve("localhost", server=server.port)
        node = RedisAddress.parse(server.url)
        blocking_connection.execute(node, "CONFIG", "SET", "cluster-announce-port", port)
        blocking_connection.execute(node, "CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        bus = start_bus(self, f"rediss+cluster://localhost:{port}?ca={self.authority.file}")
        await bus.connected()
        assert set(bus.link.nodes) == {("localhost", port)}
        got = Collector()
        await bus.subscribe("t", got)
        assert await bus.publish("t", "x") == 1
        await got.wait(1)
        untrusted = await self.refused(f"rediss+cluster://localhost:{port}")
        assert "certificate verify failed" in untrusted
        ip = ("cluster-preferred-endpoint-type", "ip", "cluster-announce-ip", "127.0.0.1")
        blocking_connection.execute(node, "CONFIG", "SET", *ip)
        unnamed = await self.refused(f"rediss+cluster://localhost:{port}?ca={self.authority.file}")
        assert "127.0.0.1" in unnamed
