"""Options of the admin endpoint: its token and host names."""

from __future__ import annotations

import re
from typing import Final

from opentera_twisted._internal.private_file import read_private_file
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.secret_file import SecretText

SHORTEST_TOKEN: Final = 16
"""Characters of an admin token, at least."""

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)


def check_host(host: str) -> None:
    """Check a host name.

    Raises:
        InvalidArgument: the name is malformed.
    """
    if not _HOST.fullmatch(host):
        raise InvalidArgument(
            f"expected a host name without a port, such as bus.example.org, not {host!r}"
        )


def read_token(file: str) -> SecretText:
    """Read the admin token in a file, with the exposure of the file to other users.

    Raises:
        InvalidArgument: the file is unreadable or contains no token.
    """
    content = read_private_file(file)
    try:
        token = content.data.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise InvalidArgument(
            f"{file!r} contains no token; expected one line of at least {SHORTEST_TOKEN} ASCII "
            "characters without spaces, such as from openssl rand -hex 32"
        )
    return SecretText(token, content.exposure)
