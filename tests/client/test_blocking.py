"""`BlockingGatewayClient` in scripts, against a real gateway."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import reactor

from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import UserEvent
from tests.helpers.processes import BlockingProgramTestCase, Process
from tests.helpers.support import UUID, message

REPORTS = "module.TeraServer.UserManagerModule.messages"
TOPIC = f"websocket.device.{UUID}.events"

START = f"""
from opentera_twisted.client import BlockingGatewayClient, Disconnected

def supply():
    with BlockingBus(url) as bus:
        return bus.issue_key("device", "{UUID}")

client = BlockingGatewayClient(os.environ["GATEWAY"], supply)
"""


class BlockingTests(BlockingProgramTestCase):
    async def script(self, code: str) -> Process:
        """Start a script with a client and wait until it is connected."""
        self.bus_ = await self.bus(self.gateway_url)
        self.gateway = Gateway(self.bus_)
        self.gateway.startService()
        self.addCleanup(self.gateway.stopService)
        listen: Any = reactor.listenTCP
        self.port = listen(0, self.gateway.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        url = f"ws://127.0.0.1:{self.port.getHost().port}/wss/device"
        reports = self.subscribed(REPORTS)
        script = self.program(START + code, before=f"import os; os.environ['GATEWAY'] = '{url}'")
        await message(reports)
        return script

    async def publish(self, name: str) -> None:
        await self.bus_.publish_event(TOPIC, UserEvent(user_fullname=name))

    async def test_a_loop_yields_each_event_until_the_client_is_closed(self) -> None:
        code = """
with client:
    for event in client:
        print(event.name, event.message.user_fullname, flush=True)
        if event.data["userFullname"] == "2":
            client.close()
print("over")
"""
        script = await self.script(code)
        await self.publish("1")
        await self.publish("2")
        assert await script.ended() == 0
        assert script.output.splitlines() == ["UserEvent 1", "UserEvent 2", "over"]

    async def test_waiting_has_a_timeout_and_loses_nothing(self) -> None:
        code = """
client.connected(timeout=60)
print(client.next_event(timeout=0.01), flush=True)
print(client.next_event(timeout=60).data["userFullname"], flush=True)
client.close()
try:
    client.next_event()
except BusUnavailable as error:
    print(error)
"""
        script = await self.script(code)
        await script.says("None")
        await self.publish("1")
        assert await script.ended() == 0
        assert script.output.splitlines()[1:] == ["1", "this client was closed: make another"]

    async def test_a_disconnect_command_is_raised(self) -> None:
        code = """
try:
    for event in client: pass
except Disconnected as error:
    print("disconnected", error.code)
"""
        script = await self.script(code)
        await self.bus_.presence.disconnect("device", UUID)
        await script.says("disconnected 4000")
        assert await script.ended() == 0

    async def test_ctrl_c_ends_a_waiting_script_and_its_websocket(self) -> None:
        script = await self.script("for event in client: pass")
        reports = self.subscribed(REPORTS)
        script.send(signal.SIGINT)
        assert await script.ended() != 0
        assert "KeyboardInterrupt" in script.output
        await message(reports)

    async def test_mistakes_are_named_at_once(self) -> None:
        script = self.program("""
from opentera_twisted.client import BlockingGatewayClient
for arguments, options in (
    (("ftp://h/", str), {}),
    (("ws://h/?id=SECRET", str), {}),
    (("ws://h/", "SECRET"), {}),
    (("ws://h/", str), {"timeout": 0}),
    (("ws://h/", str), {"max_pending": 0}),
):
    try:
        BlockingGatewayClient(*arguments, **options)
    except InvalidArgument as error:
        print(error)
""")
        assert await script.ended() == 0
        lines = script.output.splitlines()
        for line, told in zip(
            lines,
            ("not a URL", "session key", "key_supplier", "a timeout", "max_pending"),
            strict=True,
        ):
            assert told in line
        assert "SECRET" not in script.output
