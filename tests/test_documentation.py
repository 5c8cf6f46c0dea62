"""The code of README and docs, and the examples, as their readers run them."""

from __future__ import annotations

import re
import signal
import sys
from typing import Any

import pytest
from twisted.internet import task
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from opentera_twisted.link.server_process import free_port

from .processes import Process
from .support import ROOT, UUID, RedisTestCase, message
from .websockets import connect

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


class CodeTests(RedisTestCase):
    def blocks(self, name: str) -> list[str]:
        (page,) = (page for page in PAGES if page.name == name)
        blocks: list[str] = BLOCK.findall(page.read_text())
        assert blocks
        return [
            block.replace("127.0.0.1:6379", f"127.0.0.1:{self.server.port}") for block in blocks
        ]

    async def test_readme(self) -> None:
        (block,) = self.blocks("README.md")
        mains: list[Any] = []
        printed: list[object] = []
        self.patch(task, "react", mains.append)
        exec(compile(block, "README.md", "exec"), {"print": printed.append})
        from twisted.internet import reactor  # noqa: PLC0415 (README's own comes from react)

        await mains[0](reactor)
        assert printed == [3]

    async def test_embedding(self) -> None:
        names: dict[str, Any] = {"print": lambda *_: None}
        blocks = self.blocks("embedding.md")
        for number, block in enumerate(blocks):
            names.pop("example", None)
            exec(compile(block, f"embedding.md, block {number}", "exec"), names)
            if not number:
                self.addCleanup(names["bus"].stopService)
            await names["example"]()
        assert len(blocks) > 5

    async def test_programs(self) -> None:
        names: dict[str, Any] = {"print": lambda *_: None}
        blocks = self.blocks("programs.md")
        for number, block in enumerate(blocks):
            exec(compile(block, f"programs.md, block {number}", "exec"), names)
            await deferToThread(names.pop("example"))
        assert len(blocks) == 4


class ExampleTests(RedisTestCase):
    def start(self, name: str, *arguments: str) -> Process:
        process = Process(sys.executable, str(ROOT / "examples" / name), *arguments)
        self.addCleanup(process.kill)
        return process

    async def test_embedded(self) -> None:
        port = free_port()
        program = self.start("embedded.py", self.server.url, str(free_port()), str(port))
        await program.says("serving")
        bus = await self.bus()
        assert await bus.call_service("Greeter", "greet", "Zoé") == "Hello, Zoé!"
        assert await bus.call_service("Greeter", "greet", "Zoé", True) == "HELLO, ZOÉ!"
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        await program.ended()

    async def test_receive(self) -> None:
        port = free_port()
        embedded = self.start("embedded.py", self.server.url, str(free_port()), str(port))
        await embedded.says("serving")
        bus = await self.bus()
        reports = self.subscribed("module.TeraServer.UserManagerModule.messages")
        key = await SessionKeys(bus).issue("user", UUID)
        receiver = self.start("receive.py", f"ws://127.0.0.1:{port}/wss/user?id={key}")
        await message(reports)
        from opentera_twisted.messages import UserEvent  # noqa: PLC0415

        await bus.publish_event(f"websocket.user.{UUID}.events", UserEvent(user_fullname="Ana"))
        await receiver.says("Ana")
        embedded.send(signal.SIGTERM)
        await receiver.says("closed: 1001")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
