"""Parsing of Redis's INFO reply."""

from __future__ import annotations

from collections.abc import Mapping


def parse_info(reply: bytes) -> Mapping[str, str]:
    """Parse the fields of all sections.

    Source: Redis command INFO.
    """
    found = {}
    for line in reply.decode(errors="replace").splitlines():
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#"):
            found[name] = value.strip()
    return found
