"""Print the further requirements of OpenTera, as a requirements file for pip.

    pip install --no-deps opentera==1.3.1
    python -m opentera_twisted.opentera > opentera.txt
    pip install -r opentera.txt

OpenTera pins versions of Twisted and other packages that are incompatible with this package, so
that no command installs both at once. This program omits those pins; the versions that this package
installed replace them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

from opentera_twisted.opentera.moving import TRIED_WITH

_OURS: Final = frozenset(
    {
        "autobahn",
        "cryptography",
        "protobuf",
        "pyopenssl",
        "service-identity",
        "twisted",
        "txredisapi",
    }
)


def remaining(requirements: Iterable[str]) -> Iterator[str]:
    """Omit the requirements that this package installs in other versions."""
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        if name is None or name[0].lower() not in _OURS:
            yield requirement


def main() -> None:
    """Write the requirements to standard output."""
    try:
        found = requires("opentera") or ()
    except PackageNotFoundError:
        sys.exit(f"OpenTera is not installed: pip install --no-deps opentera=={TRIED_WITH}")
    print(*remaining(found), sep="\n")  # noqa: T201 (its output)


if __name__ == "__main__":
    main()
