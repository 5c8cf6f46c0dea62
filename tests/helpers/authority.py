"""A certificate authority for tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
"""Arguments of ``KeyUsage``, in order."""


class Authority:
    """Signs certificates, and writes them to files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(*(name == "key_cert_sign" for name in KEY_USAGES))
        self.file = self._write("ca", self._sign(self._name, self._key, (ca, True), (usage, True)))

    def issue(self, name: str) -> Path:
        """Issue a certificate and its key for a host name or an IP address."""
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
        # Python 3.13 verifies strictly: both key identifiers, and the usage of the authority.
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension, critical in ((subject_key, False), (issuer_key, False), *extensions):
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
