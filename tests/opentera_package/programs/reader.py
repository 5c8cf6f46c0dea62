"""Empties the lists of logs with OpenTera's own client and messages: reader.py PORT RESULTS."""

import json
import sys
from pathlib import Path
from typing import Any

import opentera.messages.python as messages
from google.protobuf.json_format import MessageToDict
from opentera.redis.RedisClient import RedisClient

CONFIG = {
    "hostname": "127.0.0.1",
    "port": int(sys.argv[1]),
    "db": 0,
    "username": "",
    "password": "",
}


def main() -> None:
    """Write the content of each list."""
    client = RedisClient(CONFIG)
    results: list[Any] = []
    for level in ("trace", "debug", "info", "warning", "critical", "error", "fatal"):
        while payload := client.redis.lpop(f"log.{level}"):
            event = messages.TeraEvent.FromString(payload)
            results.append([f"log.{level}", MessageToDict(event)])
    Path(sys.argv[2]).write_text(json.dumps(results))


main()
