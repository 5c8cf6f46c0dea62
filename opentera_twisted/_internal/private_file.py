"""Files that may hold a secret: their bytes, and who else can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import field, frozen

from opentera_twisted.errors import InvalidArgument


@frozen
class PrivateFile:
    """The content of a file that may hold a secret.

    Attributes:
        data: Its bytes.
        exposure: Advice when everyone on this machine may read the file; else empty.
    """

    data: bytes = field(repr=False)
    exposure: str


def read_private_file(path: str, largest: int = -1) -> PrivateFile:
    """Read a file that may hold a secret.

    Args:
        path: Of the file.
        largest: Bytes to read at most; -1 reads all.

    Raises:
        InvalidArgument: the file cannot be read; the text names the file and the cause.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(largest)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(f"cannot read {path}: {reason}") from None
    is_exposed = stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH)
    exposure = f"everyone on this machine can read {path}: chmod o= {path}" if is_exposed else ""
    return PrivateFile(data, exposure)
