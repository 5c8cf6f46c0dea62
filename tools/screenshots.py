"""Pictures of the console page, alone and beside a terminal: ``make screenshots`` runs this.

``python -m tools.screenshots DIRECTORY [SECONDS]`` writes them there, after SECONDS of traffic.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import expovariate, random
from typing import Any, Final
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, ProcedureError, Procedures, SessionKeys
from opentera_twisted.admin import LocalOverview, Websockets, admin_site
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import DeviceEvent, ParticipantEvent, UserEvent
from opentera_twisted.program.gateway_service import GatewayService
from opentera_twisted.topics import Kind
from tests.helpers import terminal
from tests.helpers.browser import Browser
from tests.helpers.support import Server
from tests.helpers.websockets import HandshakeFailed, connect


def uuid_of(number: int) -> str:
    """A UUID that looks like one, and is the same each time."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4))


_COUNTS: Final[dict[Kind, int]] = {"user": 9, "participant": 6, "device": 3}
PEOPLE: Final = [
    (kind, uuid_of(100 * len(kind) + number))
    for kind, count in _COUNTS.items()
    for number in range(count)
]
"""People and devices that are online."""

NAMES: Final = ("Zoé Roy", "Ana Silva", "Li Wei", "Omar Haddad", "Mia Berg", "Jon Ruiz")
"""Names of identities."""

SHOTS: Final = {
    "console": ("overview", 1280, 1060, "light"),
    "console-dark": ("overview", 1280, 1060, "dark"),
    "console-phone": ("overview", 390, 844, "light"),
    "console-phone-dark": ("topics", 390, 844, "dark"),
    "console-topics": ("topics", 1280, 640, "light"),
    "console-services": ("services", 1280, 540, "light"),
}
"""Pictures by name: view, width and height in CSS pixels, and colour scheme."""

SECONDS: Final = 110.0
"""Seconds of history in the charts of the pictures."""

BURST: Final = 60.0
"""Seconds of traffic before a burst, which the charts mark."""

BESIDE: Final = {"overview": ("light", terminal.LIGHT), "overview-dark": ("dark", terminal.DARK)}
"""Names of the pictures with a terminal, and in which colours."""

TYPED: Final = (
    "describe service.RehabService",
    "call service.RehabService plan Ana 30",
    "call service.RehabService plan Ana soon",
    "call service.Nobody plan",
    "tail 'websocket.user.*' -n 3",
)
"""Commands in that terminal."""

_OVERVIEW: Final = (1200, 770)
_CONSOLE: Final = (644, 702)

_PAGE: Final = """
<!doctype html>
<meta charset="utf-8">
<style>
  body {{ margin: 0; display: flex; gap: 20px; padding: 16px; height: 738px;
    box-sizing: content-box; width: 1168px; background: {outside};
    font: 13px "DejaVu Sans", sans-serif; }}
  figure {{ margin: 0; border: 1px solid {line}; border-radius: 10px; overflow: hidden;
    background: {background}; color: {foreground};
    display: flex; flex-direction: column; }}
  #console {{ flex: 0 0 644px; }}
  #terminal {{ flex: 1; }}
  figcaption {{ padding: 9px 14px; background: {bar}; border-bottom: 1px solid {line};
    display: flex; gap: 6px; align-items: center; }}
  i {{ width: 11px; height: 11px; border-radius: 50%; background: {line}; }}
  figcaption span {{ margin-left: 10px; color: {quiet}; }}
  img {{ flex: 1; min-height: 0; width: 644px; object-fit: cover; object-position: top; }}
  pre {{ margin: 0; padding: 14px 16px; font: 12px/1.42 "DejaVu Sans Mono", monospace;
    white-space: pre-wrap; word-break: break-all; }}
</style>
<figure id="console"><figcaption><i></i><i></i><i></i><span>the console page</span></figcaption>
<img src="data:image/png;base64,{picture}"></figure>
<figure id="terminal"><figcaption><i></i><i></i><i></i><span>a terminal</span></figcaption>
{terminal}</figure>
"""

_COLOURS: Final = {
    "light": {
        "outside": "#e9eef5", "background": "#ffffff", "foreground": "#24292f",
        "line": "#c9d3df", "bar": "#f6f8fa", "quiet": "#57606a",
    },
    "dark": {
        "outside": "#010409", "background": "#0d1117", "foreground": "#e6edf3",
        "line": "#30363d", "bar": "#161b22", "quiet": "#9198a1",
    },
}  # fmt: skip


def rehabilitation() -> Procedures:
    """Procedures of an imaginary service."""
    procedures = Procedures(version="2.1.0", doc="Plans and follows sessions of rehabilitation.")

    @procedures.expose
    def plan(participant: str, minutes: int = 45, remote: bool = True) -> str:
        """Plans a session, and says when it is."""
        return f"{participant}: {minutes} minutes, {'remote' if remote else 'on site'}"

    @procedures.expose
    def progress(participant: str) -> dict[str, object]:
        """Progress of a participant."""
        if random() < 0.02:
            raise ProcedureError("no such participant")
        return {"participant": participant, "sessions": 12, "goal": 20, "trend": [0.2, 0.4, 0.7]}

    return procedures


def file_transfer() -> Procedures:
    """Procedures of another imaginary service."""
    procedures = Procedures(version="1.4.2", doc="Moves files of participants.")

    @procedures.expose
    async def size(name: str) -> int:
        """Size of a file in bytes."""
        await deferLater(reactor, expovariate(40))
        return 1024 * len(name)

    return procedures


@asynccontextmanager
async def program() -> AsyncIterator[tuple[str, str]]:
    """A gateway with clients, services and traffic; the URLs of its page and of its Redis."""
    server = Server()
    bus = Bus(server.url, reactor=reactor, name="opentera-bus")
    gateway = Gateway(bus)
    bus.startService()
    gateway.startService()
    await bus.connected()
    listen: Any = reactor
    websockets = listen.listenTCP(0, gateway.factory, interface="127.0.0.1")
    port = websockets.getHost().port
    where = [Websockets("ws", port)]
    site = admin_site(bus, LocalOverview(bus, gateway), console="write", websockets=where)
    page = listen.listenTCP(0, site, interface="127.0.0.1")
    listing = GatewayService(bus, gateway, "edge-1")
    listing.start()
    services = Bus(server.url, reactor=reactor, name="rehab-service")
    services.startService()
    await services.serve_service("RehabService", rehabilitation())
    await services.serve_service("FileTransferService", file_transfer())
    keys = SessionKeys(services)
    for number, (kind, uuid) in enumerate(PEOPLE):
        key = await keys.issue(kind, uuid, name=NAMES[number % len(NAMES)])
        await connect(port, f"/wss/{kind}?id={key}")
    for _ in range(3):
        with suppress(HandshakeFailed):
            await connect(port, "/wss/user?id=user.unknown")
    busy = LoopingCall(lambda: publish(services))
    busy.start(0.05)
    burst = deferLater(reactor, BURST, lambda: publish(services, 400))
    burst.addErrback(lambda failure: failure.trap(CancelledError))
    try:
        yield f"http://127.0.0.1:{page.getHost().port}/", server.url
    finally:
        busy.stop()
        burst.cancel()
        await listing.stop()
        await services.stopService()
        await gatherResults([page.stopListening(), websockets.stopListening()])
        await gateway.stopService()
        await bus.stopService()
        server.stop()


def publish(bus: Bus, more: int = 0) -> None:
    """Publish a moment's traffic, more and less of it in turns."""
    now = reactor.seconds()
    wave = 2 + math.sin(now / 7) + 0.7 * math.sin(now / 1.9)
    for number in range(int(wave) + more):
        kind, uuid = PEOPLE[int(now * 17 + number * 5) % len(PEOPLE)]
        event: Any = {
            "user": UserEvent(type=UserEvent.USER_UPDATED, user_uuid=uuid, user_fullname="Zoé Roy"),
            "participant": ParticipantEvent(participant_uuid=uuid, participant_name="Ana"),
            "device": DeviceEvent(device_uuid=uuid, device_name="Armband 3"),
        }[kind]
        bus.publish_event(f"websocket.{kind}.{uuid}.events", event)
        if number == 1:
            bus.publish_event("service.RehabService.events.session", event)
    if int(now * 20) % 3 == 0:
        bus.call_service("RehabService", "progress", "Ana").addErrback(lambda _: None)
        bus.call_service("FileTransferService", "size", "a.pdf").addErrback(lambda _: None)
    if int(now * 20) % 17 == 0:
        bus.call_service("RehabService", "plan", "Ana", 30).addErrback(lambda _: None)


async def take(directory: Path, seconds: float) -> None:
    """Take all pictures."""
    async with program() as (url, redis):
        browser = Browser()
        try:
            await browser.open(url)
            await browser.run("document.getElementById('watch').click()")
            await deferLater(reactor, seconds)
            for name, (view, width, height, scheme) in SHOTS.items():
                picture = await shoot(browser, view, width, height, scheme)
                await deferToThread((directory / f"{name}.png").write_bytes, picture)
            consoles = {
                name: await shoot(browser, "overview", *_CONSOLE, scheme)
                for name, (scheme, _) in BESIDE.items()
            }
            session = [
                (command, await deferToThread(terminal.printed, redis, command))
                for command in TYPED
            ]
            for name, (scheme, theme) in BESIDE.items():
                page = _PAGE.format(
                    picture=base64.b64encode(consoles[name]).decode(),
                    terminal=terminal.html(session, theme),
                    **_COLOURS[scheme],
                )
                await browser.open(
                    f"data:text/html;base64,{base64.b64encode(page.encode()).decode()}"
                )
                picture = await photograph(browser, *_OVERVIEW, scheme)
                await deferToThread((directory / f"{name}.png").write_bytes, picture)
        finally:
            browser.quit()


async def shoot(browser: Browser, view: str, width: int, height: int, scheme: str) -> bytes:
    """Take a picture of a view of the console page."""
    await as_for(browser, width, height, scheme)
    await browser.run("location.hash = arguments[0]", view)
    await browser.run(
        """
        for (const one of document.querySelectorAll(".service")) one.open = false;
        const service = document.querySelector('[data-server="service.RehabService"]');
        if (service) service.open = true;
        window.scrollTo(0, 0);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        """
    )
    return await photograph(browser, width, height, scheme)


async def as_for(browser: Browser, width: int, height: int, scheme: str) -> None:
    """Show the page as it is for one reader."""
    await browser.command(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=height, deviceScaleFactor=1.5, mobile=width < 600,
    )  # fmt: skip
    await browser.command(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": scheme}],
    )


async def photograph(browser: Browser, width: int, height: int, scheme: str) -> bytes:
    """Take a picture of the page, as PNG."""
    await as_for(browser, width, height, scheme)
    picture = await browser.command("Page.captureScreenshot", format="png")
    return base64.b64decode(picture["data"])


def main(_: object) -> Deferred[None]:
    """Take them into the directory that is named."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    return Deferred.fromCoroutine(take(directory, seconds))


if __name__ == "__main__":
    react(main)
