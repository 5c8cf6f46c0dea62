"""A headless Chromium for tests, and the web server of their pages.

Needs Debian's packages ``chromium`` and ``chromium-driver``, or the same programs on PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import WrappingFactory
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.helpers.support import GUARD, RedisTestCase

REQUIRED = "OPENTERA_BUS_REQUIRE_CHROMIUM"
"""Environment variable that makes a missing Chromium a failure."""

SCRIPT_TIMEOUT = 300
"""Timeout in seconds of a script in a page."""

_MISSING = (
    "left out: these tests need Chromium; on Debian: apt-get install chromium chromium-driver"
)
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")

_RUN = """
const done = arguments[arguments.length - 1];
const [script, ...values] = Array.from(arguments).slice(0, -1);
const run = Object.getPrototypeOf(async () => {}).constructor(script);
run(...values).then((value) => done({value}), (error) => done({error: String(error)}));
"""


class Browser:
    """A headless Chromium with one page at a time."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        assert _CHROMIUM is not None
        assert _DRIVER is not None
        options.binary_location = _CHROMIUM
        options.add_argument("--headless=new")
        options.add_argument("--disable-dev-shm-usage")
        if os.geteuid() == 0:  # its sandbox refuses root
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(_DRIVER))
        connection: Any = self.driver.command_executor
        # Newer versions of selenium wait 2 minutes, older ones without a limit.
        getattr(connection, "client_config", connection).timeout = int(GUARD)
        self.driver.set_script_timeout(SCRIPT_TIMEOUT)

    def open(self, url: str) -> Deferred[None]:
        """Show a page; fire when it has loaded."""
        return deferToThread(self.driver.get, url)

    def renew(self) -> Deferred[None]:
        """Replace the tab with a new one; fire when the old tab is closed."""

        def renew() -> None:
            old = self.driver.current_window_handle
            self.driver.switch_to.new_window("tab")
            new = self.driver.current_window_handle
            self.driver.switch_to.window(old)
            self.driver.close()
            self.driver.switch_to.window(new)

        return deferToThread(renew)

    def run(self, script: str, *values: Any) -> Deferred[Any]:
        """Run the body of an async function in the page.

        Args:
            script: Body of the function; ``arguments`` holds ``values``.

        Returns:
            Fires with the result; fails with the exception.
        """

        def run() -> Any:
            result = self.driver.execute_async_script(_RUN, script, *values)
            assert "error" not in result, result["error"]
            return result.get("value")

        return deferToThread(run)

    def command(self, name: str, **parameters: Any) -> Deferred[Any]:
        """Run a command of the DevTools protocol, such as ``Network.enable``."""
        return deferToThread(self.driver.execute_cdp_cmd, name, parameters)

    def tab(self, count: int) -> Deferred[None]:
        """Press the Tab key that often, in one request."""
        return deferToThread(
            ActionChains(self.driver, duration=0).send_keys(Keys.TAB * count).perform
        )

    def console(self) -> Deferred[list[dict[str, Any]]]:
        """Fire with the new entries of the console."""
        return deferToThread(self.driver.get_log, "browser")

    def quit(self) -> None:
        """Close the browser."""
        self.driver.quit()


@cache
def shared_browser() -> Browser:
    """Return the shared browser."""
    return Browser()


def missing_browser() -> str | None:
    """Return the reason to skip tests that need a browser, or None."""
    if _CHROMIUM and _DRIVER:
        return None
    assert not os.environ.get(REQUIRED), _MISSING
    return _MISSING


class Page(Resource):
    """Answers each request with the result of a function: bytes, or a Deferred of bytes."""

    isLeaf = True

    def __init__(self, content: Callable[[], Any], content_type: str = "text/plain") -> None:
        super().__init__()
        self._content = content
        self._type = content_type

    def render_GET(self, request: Any) -> Any:
        request.setHeader(b"Content-Type", self._type.encode() + b"; charset=utf-8")
        request.setHeader(b"Cache-Control", b"no-store")
        ended = request.notifyFinish()

        def answer(content: bytes) -> None:
            if not ended.called:
                request.write(content)
                request.finish()

        answering: Deferred[bytes] = maybeDeferred(self._content)
        ended.addErrback(lambda _: answering.cancel())  # the page has gone elsewhere
        answering.addCallback(answer).addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    render_POST = render_GET


class _Root(Resource):
    """Site root that also answers the browser's request for an icon."""

    def getChild(self, path: bytes, request: Any) -> Any:
        return notFound()


@pytest.mark.xdist_group("browser")  # one process starts a Chromium
class BrowserTestCase(RedisTestCase):
    """A test in a browser, with a fresh page."""

    def setUp(self) -> None:
        """Start the browser if necessary."""
        if (missing := missing_browser()) is not None:
            self.skipTest(missing)
        super().setUp()
        self.browser = shared_browser()

    def tearDown(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """Leave the page, which closes its connections."""
        return self.browser.open("about:blank")

    def listen(self, factory: Any) -> int:
        """Listen on a free port until the end of the test; return its number.

        The end of the test drops idle connections, which a browser keeps open.
        """
        wrapper: Any = WrappingFactory(factory)
        wrapper.noisy = False
        port: Any = reactor.listenTCP(0, wrapper, interface="127.0.0.1")

        async def drop() -> None:
            await port.stopListening()
            for connection in list(wrapper.protocols):
                connection.transport.abortConnection()
            while wrapper.protocols:
                await deferLater(reactor, 0)

        self.addCleanup(lambda: Deferred.fromCoroutine(drop()))
        number: int = port.getHost().port
        return number

    def serve(self, pages: dict[str, Resource]) -> str:
        """Start a web server with these pages; return its URL."""
        root = _Root()
        for name, page in pages.items():
            root.putChild(name.encode(), page)
        return f"http://127.0.0.1:{self.listen(Site(root))}"
