"""Files that may contain a secret, and their exposure to other users."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import field, frozen

from opentera_twisted.errors import InvalidArgument


@frozen
class PrivateFile:
    """Content of a file that may contain a secret.

    Attributes:
        data: its bytes.
        exposure: advice if every user of this machine can read or change the file; else empty.
    """

    data: bytes = field(repr=False)
    exposure: str


def read_private_file(path: str, largest: int = -1) -> PrivateFile:
    """Read a file that may contain a secret.

    Args:
        path: path of the file.
        largest: maximum number of bytes to read; -1 reads all.

    Raises:
        InvalidArgument: the file cannot be read; the message names the file and the cause.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(largest)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(f"cannot read {path}: {reason}") from None
    is_exposed = stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH)
    exposure = ""
    if is_exposed:
        exposure = f"everyone on this machine can read or change {path}: chmod o= {path}"
    return PrivateFile(data, exposure)
