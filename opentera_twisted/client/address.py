"""The URL of a gateway, and its endpoint."""

from __future__ import annotations

import os
import re
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.credentials import TLS
from opentera_twisted.link.endpoints import tcp_endpoint
from opentera_twisted.link.tls import client_options

_FORM: Final = "expected ws://host:port/wss/user, or wss:// with TLS"
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_CREDENTIALS: Final = frozenset({"id", "recover", "received"})


@frozen
class GatewayAddress:
    """Address of a gateway, and how to verify its certificate.

    Attributes:
        url: parts of its URL.
        host: host name in ASCII, or IP address.
        port: TCP port.
        ca: PEM file of the certificates to trust; None trusts the system's.
        verify: check the gateway's certificate.
    """

    url: SplitResult
    host: str
    port: int
    ca: str | None = None
    verify: bool = True

    @classmethod
    def parse(
        cls, url: str, ca: str | os.PathLike[str] | None = None, *, verify: bool = True
    ) -> GatewayAddress:
        """Read a URL; ``http`` means ``ws``, and ``https`` means ``wss``.

        Raises:
            InvalidArgument: the URL is invalid or contains a session key, or the file cannot be
                used. The message repeats neither key nor password.
        """
        if not isinstance(url, str):
            raise InvalidArgument(f"expected a URL as a string, not {type(url).__name__}; {_FORM}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidArgument(f"not a URL; {_FORM}") from None
        scheme = parts.scheme.replace("http", "ws", 1)
        host = _host(parts.hostname or "")
        if scheme not in {"ws", "wss"} or not host or port == 0:
            raise InvalidArgument(f"not a URL of a websocket; {_FORM}")
        if parts.username is not None or parts.fragment:
            raise InvalidArgument(f"a URL must not have a user or a part after #; {_FORM}")
        if _CREDENTIALS & {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}:
            raise InvalidArgument(
                "the URL contains a session key or a recovery token, which is valid once; "
                "remove it, and pass a key supplier"
            )
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        made = cls(
            parts._replace(scheme=scheme, path=path, query=query),
            host,
            port or (443 if scheme == "wss" else 80),
            None if ca is None else os.fspath(ca),
            verify,
        )
        if ca is not None and (scheme == "ws" or not verify):
            raise InvalidArgument("ca is for a wss:// URL whose certificate is checked")
        made._tls()  # for its errors
        return made

    def __str__(self) -> str:
        """Return the URL without its query, for logs."""
        return self.url._replace(query="").geturl()

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """Make the endpoint that connects there; an attempt fails after the timeout in seconds."""
        endpoint = tcp_endpoint(reactor, self.host, self.port, timeout)
        tls = self._tls()
        return endpoint if tls is None else wrapClientTLS(tls, endpoint)

    def _tls(self) -> IOpenSSLClientConnectionCreator | None:
        if self.url.scheme == "ws":
            return None
        return client_options(TLS(self.ca), self.host) if self.verify else _Unverified(self.host)


def _host(text: str) -> str:
    """Return a host in ASCII; empty for an invalid one."""
    try:
        host = text.encode("idna").decode() if not text.isascii() else text
    except UnicodeError:
        return ""
    return host if _HOST.fullmatch(host) else ""


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _Unverified:
    """TLS without verification."""

    host: str

    def clientConnectionForTLS(self, tlsProtocol: IProtocol) -> SSL.Connection:
        """Make the connection, with the host name but without checks."""
        context = CertificateOptions(verify=False).getContext()
        connection = SSL.Connection(context, None)
        connection.set_tlsext_host_name(self.host.encode())
        connection.set_connect_state()
        return connection
