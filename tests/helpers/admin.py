"""Fixtures of tests of the admin endpoint: a bus, a gateway, their site, an HTTP client."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus
from opentera_twisted.admin import LocalOverview, admin_site
from opentera_twisted.gateway import Gateway
from tests.helpers.support import GUARD, RedisTestCase


@frozen
class Answer:
    """A status, headers and a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as a JSON object."""
        return json.loads(self.body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def ask(url: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> Answer:
    """Send a request and return the answer; headers have ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Connection"] = "close"
    request = urllib.request.Request(url, method=method, headers=named, data=body)
    try:
        with _opener.open(request, timeout=GUARD) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


class AdminTestCase(RedisTestCase):
    """A test with an admin endpoint."""

    async def admin(self, *, bus: Bus | None = None, **options: Any) -> Asking:
        """Start an endpoint on a free port and return a client of it."""
        bus = bus or await self.bus()
        gateway = Gateway(bus)
        site: Any = admin_site(bus, LocalOverview(bus, gateway), **options)
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return Asking(bus, gateway, f"http://127.0.0.1:{port.getHost().port}")


@frozen
class Asking:
    """An endpoint of a test: its bus, its gateway and its URL."""

    bus: Bus
    gateway: Gateway
    url: str

    async def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, /, **headers: str
    ) -> Answer:
        """Send a request."""
        return await deferToThread(ask, self.url + path, method, body, **headers)

    async def post(self, path: str, value: Any, **headers: str) -> Answer:
        """Send a request as the console page does."""
        beginning = (await self.ask("/api/console", **headers)).json()
        token = {"X_Opentera_Bus_Token": beginning["token"], **headers}
        return await self.ask(path, "POST", json.dumps(value).encode(), **token)

    async def metrics(self) -> dict[str, float]:
        """Return the samples of the metrics page by name and labels."""
        text = (await self.ask("/metrics")).body.decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {
            name: float(value) for name, _, value in (sample.rpartition(" ") for sample in lines)
        }
