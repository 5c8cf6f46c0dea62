"""Crossbar.io (Twisted and Autobahn): a WAMP router with one worker; events come by WAMP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.children import running
from benchmarks.events import compact, event
from benchmarks.gateways.side import Audience, Side, publishing
from benchmarks.programs.dialects import DIALECTS, handshake
from benchmarks.rivals.environments import python
from benchmarks.scenario import Setting
from tools.ports import free_port


@contextmanager
def crossbar(setting: Setting, audience: Audience) -> Iterator[Side]:
    """A router with one realm, in which everyone may do everything."""
    binary = python("crossbar", "crossbar").with_name("crossbar")
    dialect = DIALECTS["wamp"]
    greetings = [
        (handshake("/", dialect), b"\r\n\r\n"),
        (dialect.frame(dialect.steps[0].say), b"[2,"),
    ]

    def published(topic: str) -> bytes:
        payload = json.loads(compact(event(topic, audience.size, compact)))
        return dialect.frame(json.dumps([16, 1, {}, topic, [payload]]))

    port = free_port()
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(_configuration(port)))
        command = [str(binary), "start", "--cbdir", folder, "--color=false"]
        with running("/bin/sh", "-c", 'exec "$0" "$@" 2>&1', *command) as node:
            version = node.wait_for_line("Crossbar.io v").split("Crossbar.io v")[1].split()[0]
            node.wait_for_line("NODE_BOOT_COMPLETE")
            node.discard_output()
            yield Side(
                who=f"Crossbar.io {version}, one router",
                dialect="wamp",
                port=port,
                pids=node.family(),
                paths=["/"] * len(audience.topics),
                publisher=lambda topics: publishing(
                    port, [published(topic) for topic in topics], greetings
                ),
            )


def _configuration(port: int) -> dict[str, Any]:
    allowed = dict.fromkeys(("call", "register", "publish", "subscribe"), True)
    permissions = [{"uri": "", "match": "prefix", "allow": allowed, "cache": True}]
    return {
        "version": 2,
        "workers": [
            {
                "type": "router",
                "realms": [
                    {
                        "name": "realm1",
                        "roles": [{"name": "anonymous", "permissions": permissions}],
                    }
                ],
                "transports": [
                    {
                        "type": "websocket",
                        "endpoint": {
                            "type": "tcp",
                            "interface": "127.0.0.1",
                            "port": port,
                            "backlog": 1024,
                        },
                        "serializers": ["json"],
                    }
                ],
            }
        ],
    }
