"""Passwords in files, to keep them out of the process list."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from opentera_twisted._internal.private_file import read_private_file
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.address import RedisAddress

LONGEST: Final = 4096
"""Maximum size of a secret in bytes."""


@frozen
class SecretText:
    """Contents of a secret file.

    Attributes:
        text: the secret.
        exposure: problem of the file's permissions, for display; empty without one.
    """

    text: str = field(repr=False)
    exposure: str


def read_secret(path: str, what: str = "a password") -> SecretText:
    """Read a secret: the whole file without the final line break.

    Args:
        path: path of the file.
        what: kind of secret, for errors.

    Raises:
        InvalidArgument: the file cannot be read, is empty, or cannot be a secret.
    """
    file = read_private_file(path, LONGEST + 1)
    if len(file.data) > LONGEST:
        raise InvalidArgument(f"{path} is longer than {LONGEST:,} bytes; expected {what}")
    try:
        text = file.data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8 text; expected {what}") from None
    if not text:
        raise InvalidArgument(f"{path} is empty; expected {what}")
    if not text.isprintable():
        raise InvalidArgument(
            f"{path} has a line break or an unprintable character; expected {what}"
        )
    return SecretText(text, file.exposure)


def with_password(url: str, password: str) -> str:
    """Add a password to a Redis URL.

    Raises:
        InvalidArgument: the URL is invalid, or already has a password.
    """
    if RedisAddress.parse(url).login.password is not None:
        raise InvalidArgument("the URL and the file both have a password; use only one of them")
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    userinfo = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    # geturl() would drop the empty host of unix:///path.
    rest = url.partition("://")[2].removeprefix(parts.netloc)
    return f"{parts.scheme}://{userinfo}@{host}{rest}"


def mask_passwords(url: str) -> str:
    """Replace the passwords of a Redis URL by ``***``; other texts stay as they are."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    head, question, query = rest.partition("?")
    userinfo, at, host = head.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    query = re.sub(r"(?<=sentinel_password=)[^&]*", "***", query)
    return f"{scheme}://{user}{colon and ':***'}{at}{host}{question}{query}"
