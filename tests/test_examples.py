"""The examples of programs of several kinds, run as their readers run them."""

from __future__ import annotations

import json
import signal
import sys
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import WrappingFactory
from twisted.web.server import Site

from opentera_twisted import Procedures, SessionKeys
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import DeviceEvent, UserEvent
from tests.helpers.browser import Page
from tests.helpers.own_pytest import run_pytest
from tests.helpers.processes import Process
from tests.helpers.support import GUARD, ROOT, UUID, RedisTestCase, free_port, message, until
from tests.helpers.websockets import connect

EXAMPLES = ROOT / "examples"


def ask(port: int, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """Return status and text of a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=GUARD)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = None if form is None else urlencode(form)
    connection.request("GET" if form is None else "POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


class ExampleTests(RedisTestCase):
    def start(self, *command: str, fork: bool = True, **environment: str) -> Process:
        process = Process(sys.executable, *command, environment=environment, fork=fork)
        self.addCleanup(process.kill)
        return process

    async def test_a_flask_login_gives_a_key_that_lets_its_page_connect(self) -> None:
        http, websocket = free_port(), await self.gateway()
        program = self.start(
            str(EXAMPLES / "flask_login.py"),
            str(http),
            REDIS_URL=self.server.url,
            WEBSOCKET=f"ws://127.0.0.1:{websocket}",
        )
        await program.says("Running on")
        status, page = await deferToThread(ask, http, "/")
        assert status == 200
        assert f'const websocket = "ws://127.0.0.1:{websocket}";' in page
        for wrong in ({"name": "zoe", "password": "x"}, {"name": "x", "password": ""}):
            assert (await deferToThread(ask, http, "/login", wrong))[0] == 403
        right = {"name": "zoe", "password": "sesame"}
        status, text = await deferToThread(ask, http, "/login", right)
        assert status == 200
        answer = json.loads(text)
        client = await connect(websocket, f"/wss/user?id={answer['key']}")
        await (await self.bus()).publish_event(
            f"websocket.user.{answer['uuid']}.events", UserEvent(user_fullname="Ana")
        )
        assert "Ana" in (await client.messages.wait(1))[0]
        assert answer["key"] not in program.output

    async def gateway(self) -> int:
        """Start a gateway that is stopped at the end; return its port."""
        gateway = Gateway(await self.bus(self.gateway_url))
        gateway.startService()
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listening = await endpoint.listen(gateway.factory)
        self.addCleanup(gateway.stopService)
        self.addCleanup(listening.stopListening)
        return int(listening.getHost().port)

    async def test_a_device_logs_in_and_receives_events(self) -> None:
        websocket, bus = await self.gateway(), await self.bus()
        keys = SessionKeys(bus)
        login = Page(lambda: keys.issue("device", UUID).addCallback(str.encode))
        site: Any = WrappingFactory(Site(login))
        http: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(http.stopListening)
        program = self.start(
            str(EXAMPLES / "device.py"),
            f"ws://127.0.0.1:{websocket}/wss/device",
            f"http://127.0.0.1:{http.getHost().port}/login",
        )
        await program.says("connected")
        topic = f"websocket.device.{UUID}.events"
        await bus.publish_event(topic, DeviceEvent(device_name="lamp"))
        await program.says("'deviceName': 'lamp'")
        program.send(signal.SIGTERM)
        await program.ended()
        assert "Traceback" not in program.output

    async def test_a_service_with_procedures(self) -> None:
        program = self.start(str(EXAMPLES / "calculator.py"), self.server.url)
        await program.says("serving")
        bus = await self.bus()
        assert await bus.call_service("Calculator", "divide", 1, 4) == 0.25
        program.interrupt()
        await program.says("stopped")
        assert await program.ended() == 0

    async def test_a_program_that_keeps_a_list(self) -> None:
        program = self.start(str(EXAMPLES / "recent_events.py"), self.server.url)
        await program.says("0 events in recent-events")
        bus = await self.bus(self.server.url)
        topic = "module.TeraServer.UserManagerModule.events"
        for payload in ("first", "second"):
            assert await bus.publish(topic, payload) == 1
        await until(
            lambda: bus.redis.lrange("recent-events", 0, -1),
            lambda kept: kept == [b"second", b"first"],
        )
        program.interrupt()
        await program.says("stopped")
        assert await program.ended() == 0

    async def test_an_existing_module(self) -> None:
        program = self.start(str(EXAMPLES / "existing_module.py"), str(self.server.port))
        await program.says("listening")
        bus = await self.bus()
        module = "ExampleService.OnlineUsersModule"
        connected = UserEvent(type=UserEvent.USER_CONNECTED, user_uuid=UUID)
        await bus.publish_event("module.TeraServer.UserManagerModule.events", connected)
        assert await bus.call(module, "online_users") == [UUID]
        await until(lambda: deferToThread(self.redis.llen, "log.info"), bool)
        program.send(signal.SIGTERM)
        assert await program.ended() == 0
        assert "Traceback" not in program.output

    async def test_a_fastapi_endpoint(self) -> None:
        port = free_port()
        program = self.start(
            "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_app:app",
            REDIS_URL=self.server.url,
        )  # fmt: skip
        await program.says("Uvicorn running")
        status, text = await deferToThread(ask, port, "/add?a=1&b=2")
        assert status == 502
        assert "nobody listens on service.Calculator.rpc" in text
        procedures = Procedures()

        @procedures.expose
        def add(a: int, b: int) -> int:
            return a + b

        await (await self.bus()).serve_service("Calculator", procedures)
        assert await deferToThread(ask, port, "/add?a=1&b=2") == (200, '{"sum":3}')
        program.send(signal.SIGTERM)
        await program.ended()
        assert "Traceback" not in program.output

    async def test_the_tests_of_the_fastapi_endpoint(self) -> None:
        # Each test starts the application once more in one process.
        output = await deferToThread(run_pytest, EXAMPLES / "test_fastapi_app.py")
        assert "2 passed" in output

    async def test_a_notebook(self) -> None:
        program = self.start(
            "-m", "tests.helpers.notebook", str(EXAMPLES / "notebook.ipynb"),
            REDIS_URL=self.server.url,
        )  # fmt: skip
        assert await program.ended() == 0, program.output
        lines = program.output.splitlines()
        assert lines == [
            "None",
            "Zoé",
            "3",
            "nobody listens on service.Nobody.rpc",
            "[b'0', b'1', b'2']",
            "None",
        ]

    async def test_a_site_with_the_gateway_below_a_path(self) -> None:
        port = free_port()
        program = self.start(str(EXAMPLES / "site.py"), self.server.url, str(port))
        await program.says("serving")
        status, text = await deferToThread(ask, port, "/key")
        assert status == 200
        client = await connect(port, f"/live/user?id={json.loads(text)['key']}")
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        await program.ended()


class EmbeddedTests(RedisTestCase):
    def start(self, name: str, *arguments: str) -> Process:
        process = Process(sys.executable, str(EXAMPLES / name), *arguments, fork=True)
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
        refused = self.start("receive.py", f"ws://127.0.0.1:{port}/wss/user?id={key}")
        assert await refused.ended() == 1
        assert "403" in refused.output
        await bus.publish_event(f"websocket.user.{UUID}.events", UserEvent(user_fullname="Ana"))
        await receiver.says("Ana")
        embedded.send(signal.SIGTERM)
        await receiver.says("closed: 1001")
        assert await receiver.ended() == 0
        away = self.start("receive.py", f"ws://127.0.0.1:{free_port()}/wss/user?id={key}")
        assert await away.ended() == 1
        assert "refused" in away.output
