"""The commands about gateways and their websockets, with a running program."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import Any

from twisted.internet.error import ConnectError

from opentera_twisted import Procedures, SessionKeys
from tests.helpers.commands import CommandTestCase
from tests.helpers.processes import twistd
from tests.helpers.support import UUID, folder_of, free_port, until
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect


class GatewayCommandTests(CommandTestCase):
    async def start(self) -> tuple[WebSocket, int]:
        """Start a program with two workers and a client; return it and the admin port."""
        port, admin = free_port(), free_port()
        program = twistd(
            *("--redis", self.server.url, "--workers", "2", "--name", "edge"),
            *("--admin", f"tcp:{admin}:interface=127.0.0.1"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
        )
        self.addCleanup(program.kill)
        keys = SessionKeys(await self.bus())

        async def log_in() -> WebSocket | None:
            with contextlib.suppress(ConnectError, HandshakeFailed):
                key = await keys.issue("user", UUID, name="Zoé")
                return await connect(port, f"/wss/user?id={key}")
            return None

        await program.says("all 2 workers are ready")
        client = await until(log_in, bool)
        assert client is not None
        return client, admin

    async def test_gateways_clients_and_health(self) -> None:
        websocket, admin = await self.start()

        async def gateways() -> list[dict[str, Any]]:
            _, output, errors = await self.run_command("gateways")
            assert not errors
            found: list[dict[str, Any]] = json.loads(output)
            return found

        # A busy machine may answer later than the command waits.
        found = await until(
            gateways, lambda found: [gateway["link"] for gateway in found] == ["ready"] * 2
        )
        assert [gateway["name"] for gateway in found] == ["edge.1", "edge.2"]
        assert sum(gateway["clients"]["user"] for gateway in found) == 1

        async def clients(search: str) -> Any:
            _, output, _ = await self.run_command("clients", search)
            return json.loads(output)

        listed = await until(partial(clients, UUID.upper()), lambda listed: listed["total"] == 1)
        (client,) = listed["clients"]
        assert listed["matching"] == 1
        assert client.pop("since") > 0
        assert client.pop("gateway") in {gateway["gateway"] for gateway in found}
        assert client == {
            "kind": "user",
            "uuid": UUID,
            "name": "Zoé",
            "address": "127.0.0.1",
            "queued": 0,
            "recovery": False,
        }
        listed = await until(partial(clients, "nobody"), lambda listed: listed["total"] == 1)
        assert (listed["matching"], listed["clients"]) == (0, [])

        async def counted() -> int:
            status, output, _ = await self.run_command("health", f"http://127.0.0.1:{admin}")
            assert status == 0
            number: int = json.loads(output)["clients"]["user"]
            return number

        await until(counted, bool)  # workers report each second
        _, output, _ = await self.run_command("services")
        assert json.loads(output) == [], "the gateways' own service is hidden"
        table = self.start_command("clients", terminal=True)
        assert await table.ended() == 0
        assert "1 of 1 websockets" in table.output
        data = self.start_command("gateways", "--json", terminal=True)
        assert await data.ended() == 0
        assert len(json.loads(data.output)) == 2
        websocket.sendClose()
        await websocket.closed

    async def test_a_gateway_that_hangs_is_listed_without_an_answer(self) -> None:
        end = self.redis.time()[0] * 1000 + 3_600_000
        self.redis.zadd("opentera.presence.gateways", {"frozen": end})
        _, output, _ = await self.run_command("gateways")
        assert json.loads(output) == [{"gateway": "frozen", "link": "no answer"}]

    async def test_no_admin_endpoint_is_a_failure(self) -> None:
        status, _, errors = await self.run_command("health", f"http://127.0.0.1:{free_port()}")
        assert status == 1
        assert "no answer from http://127.0.0.1" in errors
        for url in (f"http://127.0.0.1:{self.server.port}", "http://[::1"):
            status, _, errors = await self.run_command("health", url)
            assert status == 1
            assert errors.startswith(f"opentera-bus: no answer from {url}: ")

    async def test_topics_and_servers_are_completed(self) -> None:
        self.subscribed("service.Sum.rpc", "websocket.user.x.events")

        async def complete(*words: str, **env: Any) -> list[str]:
            _, output, _ = await self.run_command(
                **env,
                COMP_WORDS=" ".join(["opentera-bus", *words]),
                COMP_CWORD=str(len(words)),
                _OPENTERA_BUS_COMPLETE="bash_complete",
            )
            return [line.partition(",")[2] for line in output.splitlines()]

        # A busy machine may miss the 0.3 s.
        assert await until(lambda: complete("describe", "service.S"), bool) == ["service.Sum"]
        assert await until(lambda: complete("tail", "websocket.user.x"), bool) == [
            "websocket.user.x.events"
        ]
        self.redis.execute_command("ACL", "SETUSER", "shell", "on", ">pw", "~*", "&*", "+@all")
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "shell")
        password = folder_of(self) / "password"
        password.write_text("pw")
        assert await until(
            lambda: complete(
                *("describe", "service.S"),
                url=f"redis://shell@127.0.0.1:{self.server.port}/0",
                REDIS_PASSWORD_FILE=str(password),
            ),
            bool,
        ) == ["service.Sum"]
        procedures = Procedures()
        procedures.expose(name="add")(lambda: None)
        await (await self.bus()).serve_service("Adds", procedures)
        assert await until(lambda: complete("call", "service.Adds", "a"), bool) == ["add"]
        down = await self.run_command(
            url=f"redis://127.0.0.1:{free_port()}",
            COMP_WORDS="opentera-bus describe s",
            COMP_CWORD="2",
            _OPENTERA_BUS_COMPLETE="bash_complete",
        )
        assert (down.status, down.output.strip(), down.errors) == (0, "", "")
