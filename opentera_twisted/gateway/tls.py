"""TLS of the websockets: the certificate, the protocol that is negotiated, handshakes that fail.

Source: RFC 7301 (ALPN).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal
from weakref import WeakSet

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted._internal.private_key import private_key
from opentera_twisted.errors import InvalidArgument

HTTP: Final = b"http/1.1"
"""The protocol in which a websocket's handshake is written, by its name in ALPN."""

_log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """A certificate and its private key, in files.

    Args:
        certificate: path of a PEM file: the certificate, and those that it is signed with.
        private_key: path of a PEM file.

    Raises:
        InvalidArgument: a file cannot be read, or the key is not that of the certificate.
    """

    def __init__(self, certificate: str, private_key: str) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._context = self._load()

    @property
    def files(self) -> tuple[str, str]:
        """Paths of the certificate and of its private key."""
        return self._certificate, self._private_key

    def reload(self) -> None:
        """Read the files again; open connections keep their certificate.

        Raises:
            InvalidArgument: as above; the previous certificate stays in use.
        """
        self._context = self._load()

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Begin one client's TLS with the current certificate."""
        return SSL.Connection(self._context, None)

    def wrap(self, factory: IProtocolFactory, reactor: Any) -> TLSMemoryBIOFactory:
        """Make a factory whose protocols speak TLS."""
        return TLSMemoryBIOFactory(self, False, factory, reactor)

    def _load(self) -> SSL.Context:
        # Twisted's options choose safe versions and ciphers, without compression.
        context: SSL.Context = CertificateOptions().getContext()
        context.set_alpn_select_callback(_negotiated)
        try:
            context.use_certificate_chain_file(self._certificate)
        except SSL.Error:
            raise InvalidArgument(
                f"{self._certificate} is not a readable PEM file of a certificate"
            ) from None
        try:
            pem = Path(self._private_key).read_bytes()
        except OSError as error:
            raise InvalidArgument(f"cannot read {self._private_key}: {error.strerror}") from None
        try:
            context.use_privatekey(private_key(pem, self._private_key))
            context.check_privatekey()
        except SSL.Error:
            raise InvalidArgument(
                f"{self._private_key} is not the private key of {self._certificate}"
            ) from None
        return context


class TLSListening:
    """A reactor for endpoints that may speak TLS (``ssl:``), which accepts any ALPN offer.

    Twisted itself ends the handshake of a client that offers only protocols it does not know::

        endpoint = serverFromString(TLSListening(reactor), "ssl:443:privateKey=…:certKey=…")
        port = await endpoint.listen(gateway.factory)

    Example:
        >>> from twisted.internet import reactor
        >>> from twisted.internet.endpoints import serverFromString
        >>> endpoint = serverFromString(TLSListening(reactor), "tcp:443")
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        """Listen with TLS."""
        context = contextFactory.getContext()
        if context not in _negotiating:  # a context in use cannot be changed again
            context.set_alpn_select_callback(_negotiated)
            _negotiating.add(context)
        return self._reactor.listenSSL(port, factory, contextFactory, backlog, interface)


_negotiating: Final[WeakSet[SSL.Context]] = WeakSet()


def _negotiated(connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
    """Select the protocol of ALPN; without a common one, continue as without ALPN."""
    protocol = connection.get_app_data()  # None with a context factory of the older form
    wrapped = protocol.factory.wrappedFactory if isinstance(protocol, ProtocolWrapper) else None
    factory = IProtocolNegotiationFactory(wrapped, None)
    spoken = [HTTP] if factory is None else factory.acceptableProtocols()
    return next((name for name in spoken if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


def is_incomplete(transport: Any) -> bool:
    """Return True if a connection with TLS ended before its handshake was complete."""
    while isinstance(transport, ProtocolWrapper):
        if isinstance(transport, TLSMemoryBIOProtocol):
            return transport.getHandle().get_peer_finished() is None
        transport = transport.transport
    return False


def failure_of_handshake(reason: Failure) -> tuple[Literal["closed", "error"], str]:
    """Describe the cause of a failed TLS handshake.

    Args:
        reason: cause of the lost connection.

    Returns:
        ``closed`` if the client left or timed out, ``error`` if either side refused the handshake;
        and a text without anything that the client sent.
    """
    error = reason.value
    if not isinstance(error, SSL.Error):
        return "closed", reason.getErrorMessage()
    [errors] = error.args or [()]
    return "error", ", ".join(text for _, _, text in errors) or "an error of OpenSSL"


def read_again(certificate: Certificate | None) -> None:
    """Read the certificate again after SIGHUP, and log the outcome."""
    if certificate is None:
        _log.info("SIGHUP: there is no certificate to reload")
        return
    try:
        certificate.reload()
    except InvalidArgument as error:
        _log.error("the certificate stays as it was: {reason}", reason=str(error))
    else:
        _log.info("the certificate was read again")
