"""A certificate that can be changed without dropping clients: new connections get the new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import PKey
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from opentera_twisted.errors import InvalidArgument

_log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """A certificate and its private key, in files.

    Args:
        certificate: path of a PEM file: the certificate, and those that it is signed with.
        private_key: path of a PEM file.

    Raises:
        InvalidArgument: a file cannot be read, or they do not belong together.
    """

    def __init__(self, certificate: str, private_key: str) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._context = self._load()

    def reload(self) -> None:
        """Read the files again; open connections keep what they have.

        Raises:
            InvalidArgument: as above; the certificate that was read before stays in use.
        """
        self._context = self._load()

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """One client's TLS, with the certificate as it is now."""
        return SSL.Connection(self._context, None)

    def wrap(self, factory: IProtocolFactory, reactor: Any) -> TLSMemoryBIOFactory:
        """A factory whose protocols speak TLS."""
        return TLSMemoryBIOFactory(self, False, factory, reactor)

    def _load(self) -> SSL.Context:
        # Twisted's own options know what is safe: versions, ciphers, no compression.
        context: SSL.Context = CertificateOptions().getContext()
        try:
            context.use_certificate_chain_file(self._certificate)
        except SSL.Error:
            raise InvalidArgument(
                f"{self._certificate} is not a readable PEM file of a certificate"
            ) from None
        try:
            # OpenSSL's own reader would ask the terminal for a passphrase, and all would wait.
            key: Any = load_pem_private_key(Path(self._private_key).read_bytes(), password=None)
            context.use_privatekey(PKey.from_cryptography_key(key))
            context.check_privatekey()
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, SSL.Error):
            raise InvalidArgument(
                f"{self._private_key} is not a readable PEM file, without a passphrase, of the "
                f"private key of {self._certificate}"
            ) from None
        return context


def read_again(certificate: Certificate | None) -> None:
    """Do what SIGHUP asks for, and log what came of it."""
    if certificate is None:
        _log.info("SIGHUP: there is no certificate to read again")
        return
    try:
        certificate.reload()
    except InvalidArgument as error:
        _log.error("the certificate stays as it was: {reason}", reason=str(error))
    else:
        _log.info("the certificate was read again")
