"""What the admin endpoint serves beside health."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted.admin import admin_site
from opentera_twisted.gateway import Gateway

from .support import ROOT, RedisTestCase

CLIENT = ROOT / "opentera_twisted" / "admin" / "opentera-bus.js"


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer."""
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class JavaScriptClientTests(RedisTestCase):
    async def ask(self, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        bus = await self.bus()
        site: Any = admin_site(bus, Gateway(bus))
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/opentera-bus.js"
        return await deferToThread(ask, url, method, Connection="close", **headers)

    async def test_browsers_of_any_origin_take_it_as_a_module_and_guess_nothing(self) -> None:
        status, headers, body = await self.ask()
        assert status == 200
        assert body == CLIENT.read_bytes()
        assert headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Access-Control-Allow-Origin"] == "*"

    async def test_it_is_kept_and_asked_for_again_and_sent_when_it_has_changed(self) -> None:
        _, headers, _ = await self.ask()
        assert headers["Cache-Control"] == "public, no-cache"
        status, again, body = await self.ask(**{"If-None-Match": headers["ETag"]})
        assert (status, body) == (304, b"")
        assert again["ETag"] == headers["ETag"]
        status, _, body = await self.ask(**{"If-None-Match": '"another"'})
        assert (status, body) == (200, CLIENT.read_bytes())

    async def test_head_and_post(self) -> None:
        status, headers, body = await self.ask("HEAD")
        assert (status, body) == (200, b"")
        assert headers["ETag"]
        assert (await self.ask("POST"))[0] == 405
