"""The console page in a real Chromium: each panel, accessibility, and small screens."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from importlib.resources import files
from operator import le
from typing import Any
from uuid import uuid4

from selenium.common.exceptions import WebDriverException
from twisted.internet.threads import deferToThread

from opentera_twisted import Procedures, SessionKeys
from opentera_twisted.admin import LocalOverview, Websockets, admin_site
from opentera_twisted.admin import traffic as watching
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.messages import UserEvent
from opentera_twisted.program.gateway_service import GatewayService
from tests.gateway.recovery.client import Client
from tests.helpers.browser import BrowserTestCase
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    UUID,
    start_bus,
    start_server,
    start_with_acl,
    until,
)
from tests.helpers.websockets import HandshakeFailed, connect

TOKEN = "correct-horse-battery-staple"
TOPIC = f"websocket.user.{UUID}.events"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

VIEWS = ("topics", "services", "try", "clients", "help", "overview")

LATE_REPLY = """
const [search, state] = ["search", "state"].map((one) => document.getElementById(`clients-${one}`));
const real = window.fetch;
let deliver;
window.fetch = () => new Promise((resolve) => (deliver = resolve));
search.dispatchEvent(new Event("input"));
window.fetch = real;
state.textContent = "";
search.dispatchEvent(new Event("input"));
while (!state.textContent) await fetch("/api/presence");
deliver(new Response('{"clients": [], "total": 9, "matching": 9}'));
await fetch("/api/presence");
return state.textContent;
"""
"""Script: the state of the clients after a reply that a later one has overtaken."""

VIOLATIONS = """
const options = arguments[0] ? {runOnly: {type: "rule", values: arguments[0]}} : {};
const {violations} = await axe.run(options);
return violations.map(({id, nodes}) => [id, nodes.map(({html}) => html)]);
"""
"""Script: the rules of accessibility that the page violates, of all or of these, and where."""

RULES_OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe to which the colour scheme makes a difference."""

OBSERVE_FOCUS = """
Object.defineProperty(document, "hidden", {value: true, configurable: true});  // no new rows
const keyOf = (one) => one.closest(".tile")?.dataset.name ?? one.outerHTML.slice(0, 200);
const reached = new Set();
const observe = ({target}) => {
  const {outlineStyle, outlineWidth} = getComputedStyle(target);
  if (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) reached.add(keyOf(target));
};
document.addEventListener("focusin", observe);
document.activeElement.blur();
window.unobserve = () => {
  document.removeEventListener("focusin", observe);
  delete document.hidden;
};
window.unreached = () =>
  [...document.querySelectorAll("a, button, input, select, summary, svg[role]")]
    .filter((one) => one.checkVisibility() && !one.disabled && !reached.has(keyOf(one)))
    .map((one) => one.outerHTML.slice(0, 200));
return [...document.querySelectorAll("a, button, input, select, summary, svg, [tabindex]")]
  .filter((one) => one.checkVisibility()).length;
"""
"""Script: observe which controls the Tab key reaches with a visible focus; how many there are."""

LOOK = """
const [selector, text] = arguments;
for (let looks = 0; looks < 100; looks++) {
  for (const one of document.querySelectorAll(selector)) {
    if (one.checkVisibility() && one.textContent.replace(/\\s+/g, " ").includes(text)) {
      return one.textContent;
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 30));
}
return null;
"""
"""Script: the text of a visible element that matches a selector and holds a text, or null.

It gives up after some seconds. Looking in the page costs less than a request for each look.
"""


class ConsoleTestCase(BrowserTestCase):
    def setUp(self) -> None:
        super().setUp()
        # A page on a busy machine may poll later.
        self.patch(watching, "WATCH_LEASE", GUARD)
        self.addCleanup(lambda: self.browser.command("Emulation.clearDeviceMetricsOverride"))

    overview: type[LocalOverview] = LocalOverview

    async def show(
        self,
        view: str = "overview",
        *,
        url: str | None = None,
        found: str = "found",
        **options: Any,
    ) -> None:
        """Show the page of a running gateway, wait for its services, and show a view."""
        self.bus_shown = start_bus(self, url or self.server.url)
        await self.bus_shown.connected()
        # A busy machine may answer later than the console waits.
        find = partial(self.bus_shown.services, timeout=GUARD)
        self.patch(self.bus_shown, "services", find)
        self.gateway = Gateway(self.bus_shown)
        self.gateway.startService()
        self.addCleanup(self.gateway.stopService)
        port = self.listen(self.gateway.factory)
        self.websocket_port = port
        where = [Websockets("ws", port)]
        overview = self.overview(self.bus_shown, self.gateway)
        site = admin_site(self.bus_shown, overview, websockets=where, **options)
        self.url = f"http://127.0.0.1:{self.listen(site)}/"
        await self.browser.console()
        await self.browser.open(self.url)
        if "token" not in options:
            await self.go("services")
            await self.sees("#services-state, #services-problem", found)
            await self.go(view)

    async def go(self, view: str) -> None:
        """Show a view of the page."""
        await self.browser.run("location.hash = arguments[0]", view)
        await self.sees(f"[data-view={view}][aria-current]")

    async def sees(self, selector: str, text: str = "") -> str:
        """Wait until an element holds a text; return its whole text."""

        async def look() -> str | None:
            try:
                return await self.browser.run(LOOK, selector, text)  # type: ignore[no-any-return]
            except WebDriverException:  # it is loading another page
                return None

        return await until(look, lambda one: one is not None) or ""

    async def click(self, selector: str) -> None:
        await self.browser.run("document.querySelector(arguments[0]).click()", selector)

    async def type(self, selector: str, text: str) -> None:
        """Type a value and send its event, as a keyboard does."""
        await self.browser.run(
            "const [selector, text] = arguments; const field = document.querySelector(selector);"
            "field.value = text; field.dispatchEvent(new Event('input', {bubbles: true}));"
            "field.dispatchEvent(new Event('change', {bubbles: true}))",
            selector,
            text,
        )

    async def problems(self) -> list[str]:
        """Return errors of the browser, such as violations of the Content-Security-Policy."""
        return [
            entry["message"] for entry in await self.browser.console() if entry["level"] == "SEVERE"
        ]


class OneMissing(LocalOverview):
    """A pool in which one of two workers is missing."""

    def health(self) -> dict[str, Any]:
        reason = "1 of 2 workers not ready"
        return {**super().health(), "status": "unavailable", "reason": reason}


class WorkersTests(ConsoleTestCase):
    overview = OneMissing

    async def test_a_missing_worker_is_not_a_missing_link(self) -> None:
        await self.show()
        shown = await self.sees("#status[data-state=bad]", "1 of 2 workers not ready for ")
        assert "link" not in shown
        assert not await self.problems()


class LinkTests(ConsoleTestCase):
    async def test_the_page_follows_the_link_down_and_up(self) -> None:
        server = start_server(self)
        await self.show(url=server.url)
        await self.sees("#status", "Ready")
        await self.sees("#address", str(server.port))
        await self.sees("#link-facts", "all acknowledged")
        await self.sees("#versions", "valkey 9")
        server.stop()
        await self.sees("#status[data-state=bad]", "No link to Redis")
        await self.sees("#link-facts", "Connection was refused")
        server.start()
        await self.sees("#status[data-state=good]", "Ready")
        await self.sees("#link-facts", "messages may have been missed")
        await self.click("#link summary")
        await self.sees("#counts", "Logins")

    async def test_the_recovery_of_events_is_shown(self) -> None:
        await self.show()
        await self.click("#link summary")
        await self.sees("#counts", "Recovery of events")
        client = Client()
        key = await SessionKeys(self.bus_shown).issue("user", UUID)
        await client.log_in(self.websocket_port, key)
        await self.sees("#counts", "clients away now0")
        await client.drop()
        await self.sees("#counts", "clients away now1")
        await self.sees("#counts", "not recovered0")
        assert await client.come_back(self.websocket_port)
        await self.sees("#counts", "now0 Brecovered1not recovered0")
        beyond = client.way_back(9)
        await connect(self.websocket_port, beyond, protocols=[RECOVERY])
        text = await self.sees("#counts", "not recovered: beyond1")
        assert "overflow" not in text
        assert not await self.problems()

    async def test_the_page_reports_an_unreachable_gateway(self) -> None:
        await self.show()
        await self.sees("#status", "Ready")
        await self.browser.command("Network.enable")
        gone = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self.browser.command("Network.emulateNetworkConditions", **gone)
        await self.sees("#away", "does not answer")
        await self.browser.command("Network.emulateNetworkConditions", **{**gone, "offline": False})
        await self.sees("#status", "Ready")

    async def test_a_hanging_gateway_greys_out_its_figures(self) -> None:
        await self.show()
        await self.sees("#age", "updated now")
        assert not await self.browser.run("return document.body.classList.contains('stale')")
        await self.browser.run(
            "const now = performance.now.bind(performance); performance.now = () => now() + 60000;"
            "window.fetch = () => new Promise(() => {})"
        )
        await self.sees("#status", "No answer for")
        assert await self.browser.run("return document.body.className") == "stale"
        assert (await self.sees("#age")).startswith("updated 6")

    async def test_clients_are_searched_sorted_and_disconnected(self) -> None:
        await self.show(console="write")
        listing = GatewayService(self.bus_shown, self.gateway, "edge")
        listing.start()
        keys = SessionKeys(self.bus_shown)
        clients = {}
        for name in ("Zoé", "Ana"):
            key = await keys.issue("user", str(uuid4()), name=name)
            clients[name] = await connect(self.websocket_port, f"/wss/user?id={key}")
        await self.sees("#gateways-rows", "edge at ")
        await self.go("clients")
        await self.sees("#clients-state", "2 at all gateways")
        await self.sees("#clients-rows td:nth-child(8)", "edge at ")
        name = "#clients-rows tr:first-child td:nth-child(3)"
        await self.click("#clients-head th:nth-child(3) button")
        await self.sees(name, "Ana")
        await self.click("#clients-head th:nth-child(3) button")
        await self.sees(name, "Zoé")
        await self.type("#clients-search", "ana")
        await self.sees("#clients-state", "1 of 2 at all gateways")
        assert "1 of 2" in await self.browser.run(LATE_REPLY)
        await self.browser.run(
            "window.confirm = (text) => text.startsWith('Disconnect Ana (user ')"
        )
        await self.click("#clients-rows button[data-action^=Disconnect]")
        assert (await clients["Ana"].closed)[0] == 4000
        assert not clients["Zoé"].closed.called
        assert not await self.problems()
        await listing.stop()

    async def test_charts_show_numbers_and_describe_them(self) -> None:
        await self.show()
        await self.sees(".tile[data-name=clients] .value", "0")
        label = await self.browser.run(
            """
            for (;;) {
              const chart = document.querySelector(".tile[data-name=clients] svg");
              const line = chart?.querySelector(".line")?.getAttribute("d") ?? "";
              if (/^M[0-9. ]+L[0-9. ]/.test(line)) return chart.getAttribute("aria-label");
              await new Promise((resolve) => setTimeout(resolve, 50));
            }
            """
        )
        assert label.startswith("Open websockets: 0"), label
        chart = ".tile[data-name=delay] svg"
        await self.browser.run(
            "document.querySelector(arguments[0]).dispatchEvent("
            "new KeyboardEvent('keydown', {key: 'Home'}))",
            chart,
        )
        await self.sees(".tile[data-name=clients] .readout", " · 0")  # all charts have one cursor
        await self.click("[data-range=hour]")
        await self.sees(f"{chart} text", "40 min")

    async def test_one_burst_does_not_flatten_a_chart(self) -> None:
        await self.show()
        usual = [3 + index % 2 for index in range(60)]
        scale = """
        const { topOf, burstsOf } = await import("/charts.js");
        return arguments[0].map(([values, least, base]) => {
          const top = topOf(values, least, base);
          return [top, burstsOf(values, top)];
        });
        """
        cases = [
            ([], 1, 1000), (usual, 1, 1000), ([*usual, 90, 100, 3, 70], 1, 1000),
            ([0] * 50 + [30], 1, 1000), ([0.001, 3, 0.001], 0.02, 1000), ([3000], 1024, 1024),
        ]  # fmt: skip
        found = await self.browser.run(scale, cases)
        assert found == [[1, []], [4, []], [5, [61, 63]], [30, []], [0.03, [1]], [3072, []]]


class TrafficTests(ConsoleTestCase):
    async def test_watching_shows_messages_until_it_is_paused(self) -> None:
        await self.show("topics")
        await self.sees("#traffic-state", "Not watching")
        assert self.redis.pubsub_numpat() == 0
        await self.click("#watch")
        await self.sees("#traffic-state", "Watching: 0")
        assert self.redis.pubsub_numpat() == 3
        await self.bus_shown.publish_event(TOPIC, UserEvent(user_fullname="Zoé <b>Roy</b>"))
        await self.bus_shown.publish("service.A.events", "plain text")
        await self.sees("#messages .topic", TOPIC)
        await self.sees("#messages .preview", "userFullname: Zoé <b>Roy</b>")
        await self.sees("#topics td", "service.A.events")
        await self.click("#messages li:last-child summary")
        body = json.loads(await self.sees("#messages pre", "userFullname"))
        assert body["messages"][0]["userFullname"] == "Zoé <b>Roy</b>"
        await self.bus_shown.publish("service.A.events", "held")
        await self.sees("#messages-held", "1 new row")
        assert await self.rows() == 2
        await self.click("#messages li:last-child summary")
        await self.sees("#messages .what", "held")
        await self.type("#filter", "PLAIN")
        await self.sees("#traffic-state", "Watching: 1 of 3 messages on 2 topics")
        await self.sees("#messages .what", "plain text")
        assert await self.rows() == 1
        await self.type("#filter", "nothing like that")
        await self.sees("#messages-empty", "No messages match the filter")
        await self.type("#filter", "")
        await self.click(f'[data-topic="{TOPIC}"]')
        await self.sees("#traffic-state", "Watching: 0 messages")
        await self.bus_shown.publish_event(TOPIC, UserEvent(user_fullname="Ana"))
        await self.sees("#messages .preview", "Ana")
        await self.sees("#topics-rows td[data-label='Per s']")
        twice = "const button = document.querySelector('#default-patterns');"
        await self.browser.run(f"{twice} button.click(); button.click()")
        await self.sees("#topics td", "service.A.events")
        await self.bus_shown.publish("service.B.events", "a last text")
        await self.sees("#topics td", "service.B.events")
        assert await self.rows() == 5
        await self.click("#watch")
        await self.sees("#traffic-state", "Paused")

    async def rows(self) -> int:
        script = "return document.querySelectorAll('#messages li').length"
        count: int = await self.browser.run(script)
        return count

    async def test_patterns_matching_calls_warn_and_invalid_ones_fail(self) -> None:
        await self.show("topics")
        await self.type("#patterns", "service.*")
        await self.click("#watch")
        await self.sees("#traffic-warning", "match calls")
        await self.type("#patterns", "a b c d e f")
        await self.click("#watch")
        await self.sees("#traffic-problem", "expected 1 to 4 patterns")
        await self.sees("#watch", "Watch")

    async def watched(self) -> int:
        """Return the number of messages, which may include the console's own calls."""
        return int((await self.sees("#traffic-state", "Watching: ")).split()[1])

    async def test_the_page_keeps_a_bounded_number_of_messages(self) -> None:
        await self.show("topics")
        await self.click("#watch")
        await self.sees("#traffic-state", "Watching: 0")
        for times in range(1, 7):
            for _ in range(40):
                await self.bus_shown.publish("service.A.events", "x")
            await until(self.watched, partial(le, 40 * times))
        count = await self.browser.run("return document.getElementById('messages').children.length")
        assert count == 200

    async def test_opened_messages_do_not_make_the_page_longer(self) -> None:
        await self.show("topics")
        await self.click("#watch")
        await self.sees("#traffic-state", "Watching: 0")
        for _ in range(10):
            await self.bus_shown.publish("service.A.events", "a line\n" * 40)
        await self.sees("#traffic-state", "Watching: 10")
        height = "return document.querySelector('#traffic').scrollHeight + ' ' + %s"
        overflow = height % "(document.documentElement.scrollHeight - document.body.offsetHeight)"
        before = await self.browser.run(overflow)
        await self.browser.run(
            "document.querySelectorAll('#messages details').forEach((one) => (one.open = true))"
        )
        await self.sees("#messages li:last-child pre", "a line")
        assert await self.browser.run(overflow) == before

    async def test_bidirectional_controls_are_replaced(self) -> None:
        await self.show("topics")
        await self.click("#watch")
        await self.sees("#traffic-state", "Watching: 0")
        await self.bus_shown.publish("service.A.events", '{"a": "\u202eevil"}')
        await self.sees("#messages .what", '"\ufffdevil"')

    async def test_missing_rights_of_the_gateways_user_are_explained(self) -> None:
        server = start_with_acl()
        self.addCleanup(server.stop)
        await self.show(url=server.url_as(GATEWAY), found="+pubsub|channels")
        await self.sees("#status", "Ready")
        await self.sees("#procedures-problem", "+pubsub|channels")
        await self.go("topics")
        await self.click("#watch")
        await self.sees("#traffic-problem", "+psubscribe +punsubscribe &*.events")
        await self.sees("#traffic-state", "Not watching")  # and does not retry


class ServiceTests(ConsoleTestCase):
    async def counting(self) -> None:
        procedures = Procedures(version="1.2", doc="Counts things.")

        @procedures.expose
        def describe_all(
            a: int, b: float = 0.5, loud: bool = False, name: str | bytes = "x"
        ) -> Any:
            """Returns its arguments."""
            return [a, b, loud, name if isinstance(name, str) else name.hex()]

        @procedures.expose
        def total(*numbers: int) -> int:
            return sum(numbers)

        await self.bus_shown.serve_service("Counting", procedures)

    async def open_service(self, name: str = "Counting") -> None:
        await self.click("#services-refresh")
        await self.sees(".service summary", f"service.{name}")
        await self.click(".service summary")

    async def test_procedures_are_listed_and_called(self) -> None:
        await self.show("services", console="write")
        await self.sees("#services-empty", "No service")
        example: dict[str, Any] = {}
        exec((await self.sees("#example")).replace("reactor.run()", ""), example)
        self.addCleanup(example["bus"].stopService)
        await example["bus"].connected()
        await self.counting()
        await self.open_service()
        await self.sees(".service .inside", "Counts things.")
        await self.sees(".signature", "a: int, b: float = 0.5, loud: bool = false")
        form = "[data-procedure=describe_all]"
        await self.type(f"{form} .field:nth-child(1) input", "7")
        await self.type(f"{form} .field:nth-child(3) .argument select:not([hidden])", "true")
        await self.type(
            f"{form} .field:nth-child(4) .argument select[aria-label]:last-child", "bytes"
        )
        await self.type(f"{form} .field:nth-child(4) input", "00ff")
        await self.click(f"{form} button.primary")
        answer = await self.sees(f"{form} .result pre")
        assert json.loads(answer) == [7, 0.5, True, "00ff"]
        await self.type(f"{form} .field:nth-child(1) input", "seven")
        await self.click(f"{form} button.primary")
        await self.sees(f"{form} .result .problem", "a must be a whole number, not 'seven'")
        await self.sees(f"{form} [aria-invalid=true]")
        await self.sees("#calls-list .what", "describe_all(7, 0.5, true, 00ff)")
        await self.click("#calls-list summary")
        await self.click("#calls-list button")
        await self.sees("#calls-list li:nth-child(2) .preview", '[7,0.5,true,"00ff"]')
        await self.click("#services-refresh")
        await self.sees(".service summary", "service.Sum")

    async def test_a_bidirectional_default_is_sent_as_displayed(self) -> None:
        await self.show("services", console="write")
        procedures = Procedures()

        @procedures.expose
        def say(text: str = "\u202eevil") -> str:
            return ascii(text)

        await self.bus_shown.serve_service("Saying", procedures)
        await self.open_service("Saying")
        await self.click("[data-procedure=say] button.primary")
        answer = await self.sees("[data-procedure=say] .result pre")
        assert json.loads(answer) == r"'\ufffdevil'"

    async def test_further_arguments_and_errors(self) -> None:
        await self.show("services", console="write")
        await self.counting()
        await self.open_service()
        form = "[data-procedure=total]"
        for number in (1, 2):
            await self.click(f"{form} button[type=button]")
            await self.type(f"{form} .field:nth-child({number}) input", str(20 + number))
        await self.click(f"{form} button.primary")
        await self.sees(f"{form} .result pre", "43")

    async def test_a_read_only_console_has_no_forms(self) -> None:
        await self.show("services")
        await self.counting()
        await self.open_service()
        await self.sees(".signature", "describe_all")
        await self.sees("#services .read-only", "--console write")
        forms = await self.browser.run("return document.querySelectorAll('.service form').length")
        assert forms == 0
        hidden = "return document.querySelector('[data-view=try]').hidden"
        assert await self.browser.run(hidden)


class TestWebSocketTests(ConsoleTestCase):
    async def test_a_test_websocket_is_present_and_gets_its_events(self) -> None:
        await self.show("try", console="write")
        await self.sees("#test-websocket h2")
        await self.type("#uuid", UUID)
        await self.click("#connect")
        await self.sees("#test-websocket-state", f"Connected as user {UUID}")
        await self.go("clients")
        await self.sees("#presence li", UUID)
        await self.go("overview")
        await self.sees(".tile[data-name=clients] .value", "1")
        await self.go("try")
        await self.bus_shown.publish_event(TOPIC, UserEvent(user_fullname="Ana"))
        await self.sees("#test-websocket-events .what", "UserEvent")
        await self.click("#test-websocket-events summary")
        await self.sees("#test-websocket-events pre", "Ana")
        await self.click("#connect")
        await self.sees("#test-websocket-state", "Closed")
        await self.go("clients")
        await self.sees("[data-kind=user] .count", "0")
        assert await self.problems() == []

    async def test_a_key_is_shown_only_where_it_was_requested(self) -> None:
        await self.show("try", console="write")
        await self.type("#uuid", UUID)
        await self.click("#issue")
        await self.sees("#key-line", "valid for 60 seconds")
        key = await self.browser.run("return document.getElementById('key').value")
        assert self.redis.get(key) == UUID.encode()
        await self.browser.open(self.url)
        await self.sees("#status", "Ready")
        assert key not in await self.browser.run("return document.documentElement.outerHTML")
        assert await self.browser.run("return localStorage.length + sessionStorage.length") == 0


class LoginTests(ConsoleTestCase):
    async def log_in(self, token: str) -> None:
        await self.sees("h1")
        await self.type("#token", token)
        button = self.browser.driver.find_element("css selector", "form button")
        await deferToThread(button.click)  # it returns when the next page has loaded

    async def test_the_token_opens_the_page_until_its_user_logs_out(self) -> None:
        await self.show(token=TOKEN)
        await self.log_in("a wrong token of some length")
        await self.sees("#wrong", "Wrong token")
        await self.log_in(TOKEN)
        await self.sees("#status", "Ready")
        assert TOKEN not in await self.browser.run("return document.cookie + location.href")
        await self.click("#logout")
        await self.sees("label", "Admin token")


class ReaderTests(ConsoleTestCase):
    """Accessibility and layout."""

    async def full_page(self) -> None:
        """Show the page with content in each panel, and its overview."""
        await self.show("topics", console="write")
        procedures = Procedures(doc="Adds.")
        procedures.expose(name="add")(lambda a=1, b=True: a)
        await self.bus_shown.serve_service("Sum", procedures)
        await self.bus_shown.call_service("Sum", "add")
        with contextlib.suppress(HandshakeFailed):
            await connect(self.websocket_port, "/wss/user?id=user.unknown")
        await self.click("#watch")
        await self.sees("#traffic-state", "Watching")
        await self.bus_shown.publish_event(TOPIC, UserEvent(user_fullname="Ana"))
        await self.sees("#messages .topic", TOPIC)
        await self.click("#messages summary")
        await self.go("services")
        await self.click("#services-refresh")
        await self.sees(".service summary", "service.Sum")
        await self.click(".service summary")
        await self.go("try")
        await self.type("#uuid", UUID)
        await self.click("#issue")
        await self.click("#connect")
        await self.sees("#test-websocket-state", "Connected")
        await self.go("clients")
        await self.sees("#presence li", UUID)
        await self.go("overview")
        await self.click("#link summary")
        await self.sees("#procedures-rows", "service.Sum")
        await self.sees("#episodes", "Login refused: the session key is not valid")

    async def in_each_view(self, script: str, *values: Any) -> dict[str, Any]:
        """Run a script in each view; return what is not empty."""
        found = {}
        for view in VIEWS:
            await self.go(view)
            if result := await self.browser.run(script, *values):
                found[view] = result
        return found

    async def add_axe(self) -> None:
        script = files("axe_core_python").joinpath("axe.min.js").read_text()
        await self.browser.run(script + "; window.axe = axe")

    async def scheme(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.browser.command("Emulation.setEmulatedMedia", features=features)

    async def test_a_full_page_keeps_each_rule(self) -> None:
        await self.full_page()  # takes longer than any check
        await self.keeps_its_content_security_policy()
        await self.names_every_control()
        await self.reaches_every_control_with_the_tab_key()
        await self.passes_axe_in_either_colour_scheme()
        await self.fits_on_a_phone()

    async def passes_axe_in_either_colour_scheme(self) -> None:
        self.addCleanup(lambda: self.browser.command("Emulation.setEmulatedMedia", features=[]))
        await self.add_axe()
        for scheme, rules in (("light", None), ("dark", RULES_OF_COLOURS)):
            await self.scheme(scheme)
            assert await self.in_each_view(VIOLATIONS, rules) == {}, scheme
        back = await self.browser.run("return getComputedStyle(document.body).backgroundColor")
        assert back == "rgb(15, 20, 26)"

    async def test_axe_finds_nothing_in_the_login_form(self) -> None:
        await self.show(token=TOKEN)
        await self.add_axe()
        assert await self.browser.run(VIOLATIONS) == []

    async def fits_on_a_phone(self) -> None:
        await self.browser.command("Emulation.setDeviceMetricsOverride", **PHONE)
        wide = await self.in_each_view(
            """
            const sticksOut = (one) => one.getBoundingClientRect().right > innerWidth + 1;
            const wide = [...document.querySelectorAll("body *")]
              .filter((one) => one.checkVisibility() && sticksOut(one))
              .map((one) => one.outerHTML.slice(0, 80));
            return document.documentElement.scrollWidth > innerWidth ? ["page", ...wide] : wide;
            """
        )
        assert wide == {}

    async def reaches_every_control_with_the_tab_key(self) -> None:
        for view in VIEWS:
            await self.go(view)
            count = await self.browser.run(OBSERVE_FOCUS)
            for _ in range(2):  # once is often enough
                await self.browser.tab(count)
                if not (unreached := await self.browser.run("return unreached()")):
                    break
            assert unreached == [], view
            await self.browser.run("unobserve()")

    async def names_every_control(self) -> None:
        unnamed = await self.in_each_view(
            """
            return [...document.querySelectorAll("button, input, select, summary, a, svg")]
              .filter((one) => one.checkVisibility() && (one.tabIndex < 0 ||
                !(one.textContent.trim() || one.ariaLabel || one.labels?.length)))
              .map((one) => one.outerHTML);
            """
        )
        assert unnamed == {}

    async def keeps_its_content_security_policy(self) -> None:
        assert await self.problems() == []
        loaded = await self.browser.run(
            "return performance.getEntriesByType('resource').map((one) => one.name)"
        )
        assert loaded
        assert all(address.startswith(self.url) for address in loaded), loaded
