"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis

PACKAGES: Final = (
    "opentera-twisted",
    "twisted",
    "autobahn",
    "txredisapi",
    "hiredis",
    "protobuf",
    "redis",
)


def gather(port: int) -> dict[str, str]:
    """Return facts by name, including those of the server."""
    facts = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    facts.update({package: version(package) for package in PACKAGES})
    with redis.Redis(port=port, protocol=2) as client:
        server = client.info("server")
    facts["server"] = (
        f"{server.get('server_name', 'redis')} "
        f"{server.get('valkey_version', server['redis_version'])}"
    )
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
