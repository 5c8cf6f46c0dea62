"""Visits of the clients in JavaScript: Chromium, and node's where NODE_CLIENTS is set."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import asdict

from tests.helpers.browser import missing_browser, shared_browser
from tests.helpers.support import GUARD

from .visit import Client, Seen, Visit

FOLDER = Path(__file__).parent
NODE_CLIENTS = os.environ.get("OPENTERA_BUS_NODE_CLIENTS")
"""Folder where npm installed node's clients."""


def _node(library: str, visit: Visit) -> Seen:
    environment = {
        **os.environ,
        "NODE_PATH": f"{NODE_CLIENTS}/node_modules",
        "NODE_EXTRA_CA_CERTS": visit.authority,
    }
    command = ["node", str(FOLDER / "node.cjs"), library, json.dumps(asdict(visit))]
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, timeout=GUARD
    )
    return Seen(**json.loads(ended.stdout))


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Serve an empty page."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@cache
def _page() -> str:
    """Serve a page from this machine, the only origin that may connect to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def _chromium(visit: Visit) -> Seen:
    if (missing := missing_browser()) is not None:
        pytest.skip(missing)
    driver = shared_browser().driver
    driver.set_script_timeout(GUARD)
    driver.get(_page())
    # It cannot trust a file; only the TLS handshake is under test.
    driver.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    script = (FOLDER / "visit.js").read_text() + (
        "const [asked, done] = arguments;"
        "visit((url, protocols) => new WebSocket(url, protocols), asked).then(done);"
    )
    result: Any = driver.execute_async_script(script, asdict(visit))
    return Seen(**result)


SCRIPTED = [Client("Chromium", _chromium, {"usual": True})]
if NODE_CLIENTS:
    SCRIPTED += [
        Client("ws", partial(_node, "ws"), {"usual": True, "small": True, "unusable": False}),
        Client("undici", partial(_node, "undici"), {"usual": True}),
    ]
