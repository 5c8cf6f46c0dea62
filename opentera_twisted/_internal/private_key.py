"""Private keys in PEM, read without asking the terminal for a passphrase."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL.crypto import PKey

from opentera_twisted.errors import InvalidArgument


def private_key(pem: bytes, path: str) -> PKey:
    """Read a private key.

    OpenSSL's own reader would ask the terminal for a passphrase and block the program.

    Args:
        pem: text with the key, optionally with certificates.
        path: path of the file, for errors.

    Raises:
        InvalidArgument: the text contains no key, or a key with a passphrase.
    """
    try:
        key: Any = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidArgument(
            f"the private key in {path} has a passphrase, which this program cannot enter; "
            f"write it without one (openssl pkey -in {path} -out FILE) and name that file"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidArgument(f"no private key in {path}: expected one in PEM") from None
    return PKey.from_cryptography_key(key)
