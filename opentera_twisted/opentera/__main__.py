"""Prints what OpenTera needs besides this package, as a file of requirements for pip.

    pip install --no-deps opentera==1.3.1
    python -m opentera_twisted.opentera > opentera.txt
    pip install -r opentera.txt

OpenTera pins versions of Twisted and others that this package cannot run on, so no command installs
both at once. Those pins are left out: what this package has installed takes their place.
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


def besides(requirements: Iterable[str]) -> Iterator[str]:
    """Requirements less those on packages that come with this one, in other versions."""
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
    print(*besides(found), sep="\n")  # noqa: T201 (its output)


if __name__ == "__main__":
    main()
