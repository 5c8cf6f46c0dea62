"""TLS handshakes of foreign clients: negotiated protocols and failures."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from opentera_twisted import SessionKeys
from opentera_twisted.gateway import Gateway, TLSListening
from opentera_twisted.gateway.tls import Certificate
from tests.gateway.test_tls import TLSTestCase
from tests.helpers.processes import twistd
from tests.helpers.support import GUARD, UUID, free_port, log_of, turn
from tests.helpers.websockets import connect_bytes, handshake

OFFERS = {
    ("h2", "http/1.1"): "http/1.1",
    ("http/1.1",): "http/1.1",
    ("h2",): None,
    (): None,
}
"""The gateway's selection by a client's ALPN offer."""


class NegotiationTests(TLSTestCase):
    """Each kind of TLS endpoint selects http/1.1 if offered, otherwise no protocol."""

    def visit(self, port: int, offer: tuple[str, ...], key: str) -> tuple[str | None, bytes]:
        """Log in with Python's TLS; return the selected protocol and the status line."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if offer:
            context.set_alpn_protocols(list(offer))
        with (
            socket.create_connection(("127.0.0.1", port), GUARD) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(handshake(f"/wss/user?id={key}".encode()))
            return connection.selected_alpn_protocol(), connection.recv(12)

    async def check(self, port: int) -> None:
        keys = SessionKeys(await self.bus())
        for offer, selected in OFFERS.items():
            key = await keys.issue("user", UUID)
            answer = await deferToThread(self.visit, port, offer, key)
            assert answer == (selected, b"HTTP/1.1 101"), offer

    async def check_program(self, endpoint: str, *options: str) -> None:
        port = free_port()
        program = twistd(
            "--redis", self.gateway_url, "--admin", "none",
            "--websocket", endpoint.format(port=port), *options,
        )  # fmt: skip
        self.addCleanup(program.kill)
        await program.says("is ready")
        await self.check(port)

    async def test_an_ssl_endpoint(self) -> None:
        pem = self.authority.issue("localhost")
        await self.check_program(f"ssl:{{port}}:interface=127.0.0.1:privateKey={pem}:certKey={pem}")

    async def test_the_option_certificate(self) -> None:
        pem = str(self.authority.issue("localhost"))
        await self.check_program(
            "tcp:{port}:interface=127.0.0.1", "--certificate", pem, "--private-key", pem
        )

    async def test_the_option_certificate_with_workers(self) -> None:
        pem = str(self.authority.issue("localhost"))
        await self.check_program(
            "tcp:{port}:interface=127.0.0.1", "--certificate", pem, "--private-key", pem,
            "--workers", "2",
        )  # fmt: skip

    async def gateway(self, listen: Callable[[Gateway, str], Any]) -> int:
        """Start a gateway in this process on an endpoint with a certificate file."""
        self.gate = Gateway(await self.bus())
        self.gate.startService()
        self.addCleanup(self.gate.stopService)
        port = await listen(self.gate, str(self.authority.issue("localhost")))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    @staticmethod
    async def in_a_site(gateway: Gateway, pem: str) -> Any:
        root = Resource()
        root.putChild(b"wss", gateway.resource())
        listening: Any = reactor
        factory = Certificate(pem, pem).wrap(Site(root), reactor)
        return listening.listenTCP(0, factory, interface="127.0.0.1")

    @staticmethod
    async def at_an_endpoint(gateway: Gateway, pem: str) -> Any:
        text = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
        return await serverFromString(TLSListening(reactor), text).listen(gateway.factory)

    async def test_a_site(self) -> None:
        await self.check(await self.gateway(self.in_a_site))

    async def test_an_endpoint_of_a_program_that_embeds_the_gateway(self) -> None:
        await self.check(await self.gateway(self.at_an_endpoint))

    async def test_two_endpoints_with_one_context_of_the_older_form(self) -> None:
        pem = str(self.authority.issue("localhost"))
        context = DefaultOpenSSLContextFactory(pem, pem)

        async def listen(gateway: Gateway, _: str) -> Any:
            endpoint = SSL4ServerEndpoint(TLSListening(reactor), 0, context, interface="127.0.0.1")
            return await endpoint.listen(gateway.factory)

        for _ in range(2):
            await self.check(await self.gateway(listen))

    async def failed(self, reason: str, visit: Callable[[int], Any]) -> Any:
        """Return the log line of a counted handshake that failed for that reason."""
        log = log_of(self)
        port = await self.gateway(self.at_an_endpoint)
        await visit(port)
        while not self.gate.tls_failures:
            await turn()
        assert self.gate.tls_failures == {reason: 1}
        [line] = [text for text in log.items if "TLS handshake" in text]
        assert "127.0.0.1" in line
        return line

    async def test_a_client_that_does_not_trust_the_certificate_is_counted(self) -> None:
        def distrust(port: int) -> None:
            with (
                socket.create_connection(("127.0.0.1", port), GUARD) as plain,
                self.assertRaises(ssl.SSLCertVerificationError),
            ):
                ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

        line = await self.failed("error", lambda port: deferToThread(distrust, port))
        assert "unknown ca" in line

    async def test_a_client_without_tls_is_counted(self) -> None:
        async def speak(port: int) -> None:
            client = await connect_bytes(port)
            client.send(handshake(b"/wss/user?id=sesame"))
            await client.closed

        line = await self.failed("error", speak)
        assert "http request" in line
        assert "sesame" not in line

    async def test_a_client_that_leaves_is_counted(self) -> None:
        async def leave(port: int) -> None:
            client = await connect_bytes(port)
            client.drop()
            await client.closed

        await self.failed("closed", leave)

    async def test_a_handshake_that_succeeds_is_not_counted(self) -> None:
        port = await self.gateway(self.in_a_site)
        await self.check(port)
        while self.gate.factory.connections:
            await turn()
        assert not self.gate.tls_failures
