"""``wss://`` by endpoint string, by option with certificate renewal, and in a Site."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes
from uuid import uuid4

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from opentera_twisted import SessionKeys
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import Gateway, protocol
from opentera_twisted.gateway.tls import Certificate as Reloadable
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.topics import websocket_events
from tests.gateway.test_gateway import REPORTS
from tests.gateway.test_limits import TOPIC
from tests.helpers.authority import Authority
from tests.helpers.processes import Process, twistd
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    UUID,
    RedisTestCase,
    folder_of,
    free_port,
    log_of,
    message,
    turn,
)
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, connect_bytes, handshake


class TLSTestCase(RedisTestCase):
    redis_user = GATEWAY

    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)
        self.authority = Authority(self.directory)
        self._keys: SessionKeys | None = None

    @property
    def trusting(self) -> IOpenSSLClientConnectionCreator:
        """Return client TLS settings that trust the authority."""
        root = Certificate.loadPEM(self.authority.file.read_bytes())
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS("localhost", root)
        return creator

    async def log_in(self, port: int, uuid: str = UUID) -> WebSocket:
        if self._keys is None:
            self._keys = SessionKeys(await self.bus())
        key = await self._keys.issue("user", uuid)
        client: WebSocket = await connect(port, f"/wss/user?id={key}", self.trusting)
        await self.receives(client, uuid)
        return client

    async def receives(self, client: WebSocket, uuid: str = UUID) -> None:
        """Wait for an event; events for the user's other clients may arrive too."""
        topic = websocket_events("user", uuid)
        own = f"{uuid4()} {'x' * 30_000}"
        for name in ("short", own):
            event = tera_event(topic, [UserEvent(user_fullname=name)])
            self.redis.publish(topic, event.SerializeToString())
        number = 0
        while (await client.event(number))["events"][0]["userFullname"] != own:
            number += 1

    @staticmethod
    def serial(client: WebSocket) -> int:
        """Return the serial number of the certificate that a client received."""
        number: int = client.transport.getPeerCertificate().get_serial_number()
        return number


class ProgramTests(TLSTestCase):
    async def start(self, endpoint: str, *options: str) -> Process:
        program = twistd(
            "--redis", self.gateway_url, "--admin", "none", "--websocket", endpoint, *options
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        return program

    async def test_an_endpoint_string_with_a_certificate(self) -> None:
        port = free_port()
        pem = self.authority.issue("localhost")
        await self.start(f"ssl:{port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}")
        await self.log_in(port)

    async def test_a_certificate_is_renewed_without_dropping_clients(self) -> None:
        port = free_port()
        pem = str(self.authority.issue("localhost"))
        program = await self.start(
            f"tcp:{port}:interface=127.0.0.1", "--certificate", pem, "--private-key", pem
        )
        before = await self.log_in(port)
        self.authority.issue("localhost")  # overwrites the same file
        program.send(signal.SIGHUP)
        await program.says("certificate was read again")
        after = await self.log_in(port)
        assert self.serial(before) != self.serial(after)
        await self.receives(before)
        await deferToThread(Path(pem).write_text, "junk")
        program.send(signal.SIGHUP)
        await program.says("certificate stays as it was")
        last = await self.log_in(port)
        assert self.serial(last) == self.serial(after)

    async def test_without_a_certificate_the_signal_ends_nothing(self) -> None:
        port = free_port()
        program = await self.start(f"tcp:{port}:interface=127.0.0.1")
        program.send(signal.SIGHUP)
        await program.says("there is no certificate to reload")

    async def test_mistakes_end_the_program_at_once(self) -> None:
        pem = str(self.authority.issue("localhost"))
        other = str(self.authority.issue("elsewhere"))
        own = f"ssl:0:certKey={pem}:privateKey={pem}"
        for options, expected in (
            (["--certificate", pem], "--certificate and --private-key must be given together"),
            (["--certificate", "/none", "--private-key", pem], "/none is not a readable PEM"),
            (["--certificate", pem, "--private-key", other], "is not the private key of"),
            (
                [
                    "--certificate",
                    pem,
                    "--private-key",
                    pem,
                    "--websocket",
                    own,
                ],
                "has its own certificate",
            ),
        ):
            program = twistd("--redis", self.gateway_url, *options)
            self.addCleanup(program.kill)
            assert await program.ended() == 1
            assert expected in program.output
            assert program.output.count("\n") == 1


class CertificateTests(TLSTestCase):
    def test_old_versions_of_tls_are_refused(self) -> None:
        pem = str(self.authority.issue("localhost"))
        options = Reloadable(pem, pem)._context.set_options(0)
        assert options & SSL.OP_NO_TLSv1
        assert options & SSL.OP_NO_TLSv1_1

    def test_a_certificate_that_fails_to_load_leaves_the_one_before(self) -> None:
        pem = self.authority.issue("localhost")
        certificate = Reloadable(str(pem), str(pem))
        before = certificate._context
        pem.write_text("")
        with pytest.raises(InvalidArgument, match="not a readable PEM"):
            certificate.reload()
        assert certificate._context is before


class Page(Resource):
    """Another page of the site."""

    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        return b"hello"


class SiteTests(TLSTestCase):
    """Tests of the gateway beside other resources of a web site."""

    async def site(self, path: bytes = b"wss", *, tls: bool = False, **options: Any) -> int:
        bus = await self.bus()
        self.gate = Gateway(bus, **options)
        self.gate.startService()
        root = Resource()
        root.putChild(b"page", Page())
        root.putChild(path, self.gate.resource())
        listening: Any = reactor
        if tls:
            pem = str(self.authority.issue("localhost"))
            factory: Any = Reloadable(pem, pem).wrap(Site(root), reactor)
        else:
            factory = Site(root)
        port: Any = listening.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.gate.stopService)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_websockets_and_pages_share_a_port(self) -> None:
        port = await self.site()
        bus = await self.bus()
        reports = self.subscribed(REPORTS)
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        await message(reports)
        await self.receives(client)
        page = await connect_bytes(port)
        page.send(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await page.closed).endswith(b"hello")
        client.sendClose()
        await client.closed
        await message(reports)

    async def test_over_https(self) -> None:
        await self.log_in(await self.site(tls=True))

    async def test_it_may_be_put_anywhere(self) -> None:
        port = await self.site(b"events")
        bus = await self.bus()
        key = await SessionKeys(bus).issue("device", UUID)
        await connect(port, f"/events/device?id={key}")

    async def test_a_site_refuses_alike_and_logs_no_key(self) -> None:
        log = log_of(self)
        port = await self.site()
        for target, status in (
            (b"/wss/user?id=sesame", b"403"),
            (b"/wss/admin?id=sesame", b"404"),
            (b"/wss?id=sesame", b"404"),
            (b"/wss/user/more?id=sesame", b"404"),
        ):
            client = await connect_bytes(port)
            client.send(handshake(target))
            assert (await client.closed).split()[1] == status
        plain = await connect_bytes(port)
        plain.send(b"GET /wss/user?id=sesame HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await plain.closed).startswith(b"HTTP/1.1 426 ")
        assert any("refused with 403" in text for text in log.items)
        assert not any("sesame" in text for text in log.items)

    async def test_a_path_cannot_inject_headers(self) -> None:
        port = await self.site(origins=["https://good.example"])
        key = await SessionKeys(await self.bus()).issue("user", UUID)
        wanted = handshake(b"/wss/user?id=" + key.encode(), b"Origin: https://good.example")
        _, _, smuggled = wanted.partition(b"/wss/user")
        target = b"/wss/user" + quote_from_bytes(smuggled, safe="").encode()
        client = await connect_bytes(port)
        client.send(handshake(target, b"Origin: https://evil.example"))
        assert (await client.closed).startswith(b"HTTP/1.1 404 ")

    async def test_a_client_that_does_not_read_is_closed_here_too(self) -> None:
        self.patch(protocol, "PONG_TIMEOUT", GUARD)
        port = await self.site()
        bus = await self.bus()
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        client.stop_reading()
        self.addCleanup(client.drop)  # it would not notice the close
        event = tera_event(TOPIC, [UserEvent(user_fullname="x" * 100_000)]).SerializeToString()
        while not self.gate.limited:
            self.redis.publish(TOPIC, event)
            await turn()
        assert self.gate.limited == {"max_send_buffer": 1}

    async def test_stopping_closes_with_1001(self) -> None:
        port = await self.site()
        bus = await self.bus()
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        await self.gate.stopService()
        assert (await client.closed)[0] == 1001
        with pytest.raises(HandshakeFailed, match="503"):
            await connect(port, "/wss/user?id=x")
