"""``rediss://``: a real handshake with a proxy that decrypts, since the test server has no TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from twisted.protocols.portforward import ProxyFactory

from opentera_twisted import Bus

from .support import Collector, RedisTestCase


class Authority:
    """Signs certificates, and writes them to files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        self.file = self._write("ca", self._sign(self._name, self._key, (ca, True)))

    def issue(self, name: str) -> Path:
        """A certificate and its key, for a host name or an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            general = x509.DNSName(name)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([general])
        return self._write(name, self._sign(subject, key, (names, False)), key)

    def _sign(self, subject: x509.Name, key: Any, *extensions: tuple[Any, bool]) -> Any:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: Any = None) -> Path:
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            pem += key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        path = self._directory / f"{name}.pem"
        path.write_bytes(pem)
        return path


class TLSTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.authority = Authority(self.directory)

    def serve(self, name: str, *, clients: bool = False) -> int:
        """A port that decrypts for the shared server, as the host of that name."""
        pem = self.authority.issue(name).read_bytes()
        own = PrivateCertificate.loadPEM(pem)
        options = (
            own.options(Certificate.loadPEM(self.authority.file.read_bytes()))
            if clients
            else CertificateOptions(own.privateKey.original, own.original)
        )
        tls: Any = reactor
        port: Any = tls.listenSSL(
            0, ProxyFactory("127.0.0.1", self.server.port), options, interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def start(self, url: str) -> Bus:
        bus = Bus(url, reactor=reactor, name="test")
        bus.startService()
        self.addCleanup(bus.stopService)
        return bus

    async def refused(self, url: str) -> str:
        bus = self.start(url)
        causes = Collector()
        bus.link.on_refused.append(lambda cause: causes(cause.getErrorMessage()))
        cause: str = (await causes.wait(1))[0]
        assert not bus.link.is_ready
        return cause

    async def test_a_given_authority_is_trusted(self) -> None:
        bus = self.start(f"rediss://127.0.0.1:{self.serve('127.0.0.1')}/0?ca={self.authority.file}")
        await bus.connected()
        await bus.variables.set("a", "1")
        assert self.redis.get("a") == b"1"
        got = Collector()
        await bus.subscribe("t", got)
        self.redis.publish("t", b"x")
        await got.wait(1)

    async def test_without_it_the_system_decides(self) -> None:
        cause = await self.refused(f"rediss://127.0.0.1:{self.serve('127.0.0.1')}")
        assert "certificate verify failed" in cause

    async def test_the_name_of_the_server_is_checked(self) -> None:
        port = self.serve("other.example")
        cause = await self.refused(f"rediss://127.0.0.1:{port}?ca={self.authority.file}")
        assert "127.0.0.1" in cause

    async def test_our_own_certificate_is_shown(self) -> None:
        port = self.serve("localhost", clients=True)
        ours = self.authority.issue("client")
        url = f"rediss://localhost:{port}?ca={self.authority.file}"
        bus = self.start(f"{url}&certificate={ours}")
        await bus.connected()
        await self.refused(url)
