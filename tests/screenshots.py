"""Pictures of the console page with something to see on it: ``make screenshots`` runs this.

``python -m tests.screenshots DIRECTORY`` writes them there.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, Procedures, SessionKeys
from opentera_twisted.admin import Websockets, admin_site
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import DeviceEvent, ParticipantEvent, UserEvent
from opentera_twisted.topics import Kind

from .browser import Browser
from .support import Server
from .websockets import connect


def uuid_of(number: int) -> str:
    """A UUID that looks like one, and is the same each time."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4))


_COUNTS: Final[dict[Kind, int]] = {"user": 9, "participant": 6, "device": 3}
PEOPLE: Final = [
    (kind, uuid_of(100 * len(kind) + number))
    for kind, count in _COUNTS.items()
    for number in range(count)
]
"""Who is online."""

SHOTS: Final = {
    "console": (1280, 1720, "light"),
    "console-dark": (1280, 1720, "dark"),
    "console-phone": (390, 844, "light"),
}
"""Names of the pictures: width and height in CSS pixels, and what the reader prefers."""

SECONDS: Final = 100.0
"""That the charts have when the pictures are taken."""


def rehabilitation() -> Procedures:
    """What a service could offer."""
    procedures = Procedures(version="2.1.0", doc="Plans and follows sessions of rehabilitation.")

    @procedures.expose
    def plan(participant: str, minutes: int = 45, remote: bool = True) -> str:
        """Plans a session, and says when it is."""
        return f"{participant}: {minutes} minutes, {'remote' if remote else 'on site'}"

    @procedures.expose
    def progress(participant: str) -> dict[str, object]:
        """How far somebody has come."""
        return {"participant": participant, "sessions": 12, "goal": 20, "trend": [0.2, 0.4, 0.7]}

    return procedures


@asynccontextmanager
async def program() -> AsyncIterator[str]:
    """A gateway with clients, services and traffic; the URL of its page."""
    server = Server()
    bus = Bus(server.url, reactor=reactor, name="opentera-bus")
    gateway = Gateway(bus)
    bus.startService()
    gateway.startService()
    await bus.connected()
    listen: Any = reactor
    websockets = listen.listenTCP(0, gateway.factory, interface="127.0.0.1")
    port = websockets.getHost().port
    site = admin_site(bus, gateway, console="write", websockets=[Websockets("ws", port)])
    page = listen.listenTCP(0, site, interface="127.0.0.1")
    await bus.serve_service("RehabService", rehabilitation())
    await bus.serve_service("FileTransferService", Procedures(version="1.4.2"))
    keys = SessionKeys(bus)
    for kind, uuid in PEOPLE:
        await connect(port, f"/wss/{kind}?id={await keys.issue(kind, uuid)}")
    busy = LoopingCall(lambda: publish(bus))
    busy.start(0.05)
    try:
        yield f"http://127.0.0.1:{page.getHost().port}/"
    finally:
        busy.stop()
        await gatherResults([page.stopListening(), websockets.stopListening()])
        await gateway.stopService()
        await bus.stopService()
        server.stop()


def publish(bus: Bus) -> None:
    """A moment's traffic, more and less of it in turns."""
    now = reactor.seconds()
    wave = 2 + math.sin(now / 7) + 0.7 * math.sin(now / 1.9)
    for number in range(int(wave)):
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


async def take(directory: Path) -> None:
    """Take all pictures."""
    async with program() as url:
        browser = Browser()
        try:
            await browser.open(url)
            await browser.run("document.getElementById('watch').click()")
            await deferLater(reactor, SECONDS)
            for name, (width, height, scheme) in SHOTS.items():
                await shoot(browser, directory / f"{name}.png", width, height, scheme)
        finally:
            browser.quit()


async def shoot(browser: Browser, file: Path, width: int, height: int, scheme: str) -> None:
    """One picture of the page as it is for one reader."""
    await browser.command(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=height, deviceScaleFactor=1.5, mobile=width < 600,
    )  # fmt: skip
    await browser.command(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": scheme}],
    )
    await browser.run(
        """
        for (const one of document.querySelectorAll(".service")) one.open = false;
        const service = document.querySelector('[data-server="service.RehabService"]');
        if (service) service.open = true;
        window.scrollTo(0, 0);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        """
    )
    picture = await browser.command("Page.captureScreenshot", format="png")
    await deferToThread(file.write_bytes, base64.b64decode(picture["data"]))


def main(_: object) -> Deferred[None]:
    """Take them into the directory that is named."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    return Deferred.fromCoroutine(take(directory))


if __name__ == "__main__":
    react(main)
