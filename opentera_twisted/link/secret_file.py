"""A password in a file, which no list of processes shows."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from opentera_twisted._internal.private_file import read_private_file
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.address import RedisAddress

LONGEST: Final = 4096
"""Bytes of a secret; a file of more is another file."""


@frozen
class SecretText:
    """What a file of a secret holds.

    Attributes:
        text: the secret.
        hint: what is wrong with the file's permissions, for people to read; else empty.
    """

    text: str = field(repr=False)
    hint: str


def read_secret(path: str, what: str = "a password") -> SecretText:
    """Read a secret: all of the file, less the line break at its end.

    Args:
        path: path of the file.
        what: the kind of secret, for errors.

    Raises:
        InvalidArgument: it cannot be read, is empty, or cannot be a secret.
    """
    file = read_private_file(path, LONGEST + 1)
    try:
        text = file.data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is no text in UTF-8: expected {what}") from None
    if not text:
        raise InvalidArgument(f"{path} is empty: expected {what}")
    if len(file.data) > LONGEST or not text.isprintable():
        raise InvalidArgument(f"{path} holds more than one line: expected {what}")
    return SecretText(text, file.exposure)


def with_password(url: str, password: str) -> str:
    """A Redis URL with a password.

    Raises:
        InvalidArgument: it is no Redis URL, or has a password already.
    """
    if RedisAddress.parse(url).login.password is not None:
        raise InvalidArgument(
            "the URL has a password already, beside that of the file: name one of the two"
        )
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    userinfo = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    # Not geturl(), which would drop the empty host of unix:///path.
    rest = url.partition("://")[2].removeprefix(parts.netloc)
    return f"{parts.scheme}://{userinfo}@{host}{rest}"


def mask_passwords(url: str) -> str:
    """A Redis URL whose passwords are ``***``; any other text as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    head, question, query = rest.partition("?")
    userinfo, at, host = head.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    query = re.sub(r"(?<=sentinel_password=)[^&]*", "***", query)
    return f"{scheme}://{user}{colon and ':***'}{at}{host}{question}{query}"
