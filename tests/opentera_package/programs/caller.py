"""Calls procedures with OpenTera's own caller: caller.py PORT RESULTS CALLS."""

import json
import sys
from pathlib import Path
from typing import Any

from opentera.redis.RedisRPCClient import RedisRPCClient

CONFIG = {
    "hostname": "127.0.0.1",
    "port": int(sys.argv[1]),
    "db": 0,
    "username": "",
    "password": "",
}


def argument(value: Any) -> Any:
    """Decode an argument; JSON has no bytes."""
    return bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value


def main() -> None:
    """Make each call and write its result or exception."""
    rpc = RedisRPCClient(CONFIG, timeout=60)
    results: list[Any] = []
    for owner, name, procedure, arguments in json.loads(Path(sys.argv[3]).read_text()):
        call = rpc.call if owner == "module" else rpc.call_service
        try:
            results.append(call(name, procedure, *map(argument, arguments)))
        except Exception as error:  # noqa: BLE001 (the test compares it)
            results.append({"raised": type(error).__name__})
    Path(sys.argv[2]).write_text(json.dumps(results))


main()
