"""User, password and certificates for Redis or a sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from opentera_twisted.errors import AuthenticationFailed, CommandFailed

if TYPE_CHECKING:  # an address loads no protocol
    from opentera_twisted.link.protocol import CommandProtocol


@frozen
class Credentials:
    """A user and a password.

    Attributes:
        username: None for the default user.
        password: None for no login.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    async def log_in(self, protocol: CommandProtocol, where: str) -> None:
        """Log a connection in.

        Args:
            protocol: protocol of the connection.
            where: name of the server, for errors.

        Raises:
            AuthenticationFailed: the server refuses them.

        Source: Redis command AUTH.
        """
        if self.password is None:
            return
        user = () if self.username is None else (self.username,)
        try:
            await protocol.execute_command("AUTH", *user, self.password)
        except CommandFailed as error:
            if error.code not in {"NOAUTH", "WRONGPASS", "ERR"}:
                raise
            raise AuthenticationFailed(
                f"{where} refuses the user or the password ({error.code}); correct the URL or file"
            ) from None


@frozen
class TLS:
    """TLS settings of a connection.

    Attributes:
        ca: PEM file of the certificates to trust; None trusts the system's.
        certificate: PEM file of the client certificate, optionally with its key.
        private_key: PEM file of the key; None if it is in the certificate's file.
    """

    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None


NO_CREDENTIALS: Final = Credentials()
