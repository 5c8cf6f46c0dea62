"""Options of the admin endpoint: its token and its names."""

from __future__ import annotations

import re
from typing import Final

from opentera_twisted._internal.private_file import read_private_file
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.secret_file import SecretText

SHORTEST_TOKEN: Final = 16
"""Characters that an admin token has at least."""

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)


def check_host(host: str) -> None:
    """See that this is the name of a host.

    Raises:
        InvalidArgument: it is not.
    """
    if not _HOST.fullmatch(host):
        raise InvalidArgument(
            f"{host!r} is not the name of a host: expected such as bus.example.org, without a port"
        )


def read_token(file: str) -> SecretText:
    """The admin token in a file, and what is wrong with the file's permissions.

    Raises:
        InvalidArgument: the file cannot be read, or holds no token.
    """
    content = read_private_file(file)
    try:
        token = content.data.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise InvalidArgument(
            f"{file!r} does not hold a token: expected one line of at least {SHORTEST_TOKEN} "
            "characters of ASCII without spaces, such as of openssl rand -hex 32"
        )
    return SecretText(token, content.exposure)
