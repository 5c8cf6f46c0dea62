"""TLS of a connection to Redis."""

from __future__ import annotations

from pathlib import Path

from OpenSSL.crypto import Error as CryptoError
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from opentera_twisted._internal.private_key import private_key
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.credentials import TLS


def with_tls(tls: TLS, hostname: str, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
    """Make an endpoint that adds TLS and verifies that the server is ``hostname``.

    Raises:
        InvalidArgument: a file cannot be used; the message names it.
    """
    return wrapClientTLS(client_options(tls, hostname), endpoint)


def client_options(tls: TLS, hostname: str) -> IOpenSSLClientConnectionCreator:
    """Read the files and make the options of connections to ``hostname``.

    Raises:
        InvalidArgument: a file cannot be used; the message names it.
    """
    trust = ours = None
    if tls.ca is not None:
        trust = trustRootFromCertificates(_certificates(tls.ca))
    if tls.certificate is not None:
        pem = _read(tls.certificate)
        key = pem if tls.private_key is None else _read(tls.private_key)
        private_key(key, tls.private_key or tls.certificate)  # for its errors
        try:
            ours = PrivateCertificate.loadPEM(key + b"\n" + pem)
        except CryptoError:
            raise InvalidArgument(
                f"no certificate with its key in {tls.certificate}"
                + (f" and {tls.private_key}" if tls.private_key else "")
                + ": expected both in PEM"
            ) from None
    options: IOpenSSLClientConnectionCreator = optionsForClientTLS(hostname, trust, ours)
    return options


def _certificates(path: str) -> list[Certificate]:
    end = b"-----END CERTIFICATE-----"
    *pems, _ = _read(path).split(end)
    try:
        certificates = [Certificate.loadPEM(pem + end) for pem in pems]
    except CryptoError:
        certificates = []
    if not certificates:
        raise InvalidArgument(f"no certificates in {path}: expected PEM, with BEGIN CERTIFICATE")
    return certificates


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None
