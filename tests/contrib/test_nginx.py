"""``contrib/nginx.conf``: a real nginx with TLS in front of a real gateway."""

from __future__ import annotations

import os
import signal
import ssl
import urllib.error
import urllib.request

from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.gateway.test_limits import TOPIC
from tests.helpers.authority import Authority
from tests.helpers.processes import Process
from tests.helpers.support import GUARD, ROOT, UUID, folder_of, free_port
from tests.helpers.tools import tool
from tests.helpers.websockets import HandshakeFailed, connect
from tests.program.test_program import ProgramTestCase

CONFIGURATION = ROOT / "contrib" / "nginx.conf"
CLIENT = "127.0.0.2"

_AROUND = """
daemon off;
pid {directory}/pid;
error_log {directory}/error.log info;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/opentera.conf;
}}
"""


class NginxTests(ProgramTestCase):
    async def front(self, gateway: int) -> int:
        """Start nginx and return its port."""
        self.directory = folder_of(self)
        self.authority = Authority(self.directory)
        pem = str(self.authority.issue("localhost"))
        port = free_port()
        text = CONFIGURATION.read_text()
        for there, here in (
            ("    listen [::]:443 ssl;\n", ""),
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("server_name rehab.example.org", "server_name localhost"),
            ("/etc/ssl/rehab.example.org.pem", pem),
            ("/etc/ssl/private/rehab.example.org.key", pem),
            ("127.0.0.1:40085", f"127.0.0.1:{gateway}"),
            ("/var/log/nginx/", f"{self.directory}/"),
        ):
            assert text.count(there) == 1, there
            text = text.replace(there, here)
        (self.directory / "opentera.conf").write_text(text)
        main = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        main.write_text(_AROUND.format(directory=self.directory, user=user))
        nginx = tool("nginx", "nginx-light")
        checked = Process(nginx, "-t", "-c", str(main))
        self.addCleanup(checked.kill)
        assert await checked.ended() == 0, checked.output
        assert "warn" not in checked.output
        self.nginx = Process(nginx, "-c", str(main), "-g", "error_log stderr notice;")
        self.addCleanup(self.nginx.kill)
        await self.nginx.says("start worker process ")
        return port

    def ask(self, port: int, path: str) -> int:
        """Return the status of an ordinary request."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        try:
            with urllib.request.urlopen(
                f"https://localhost:{port}{path}", context=context, timeout=GUARD
            ) as got:
                status: int = got.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    async def logged(self) -> str:
        """Return all output of nginx once it has ended."""
        self.nginx.send(signal.SIGTERM)
        await self.nginx.ended()
        logs = [path.read_text() for path in self.directory.glob("*.log")]
        return "".join(logs) + self.nginx.output

    async def test_clients_log_in_through_it_and_no_key_is_logged(self) -> None:
        program, gateway = self.start("--redis", self.gateway_url, "--trusted-proxy", "127.0.0.1")
        await program.says("is ready")
        port = await self.front(gateway)
        root = Certificate.loadPEM(self.authority.file.read_bytes())
        trusting = optionsForClientTLS("localhost", root)
        keys = SessionKeys(await self.bus())
        key, unused = await keys.issue("user", UUID), await keys.issue("device", UUID)
        path = f"/wss/user?id={key}"
        client = await connect(port, path, trusting, source=CLIENT)
        event = tera_event(TOPIC, [UserEvent(user_fullname="x" * 30_000)])
        self.redis.publish(TOPIC, event.SerializeToString())
        assert (await client.event(0))["events"][0]["userFullname"] == "x" * 30_000
        with self.assertRaises(HandshakeFailed) as refused:
            await connect(port, path, trusting, source=CLIENT)
        assert "403" in str(refused.exception)
        # The gateway knows the client behind the proxy.
        await program.says(f"login from {CLIENT} over wss refused with 403")
        assert await deferToThread(self.ask, port, path) == 426
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        await program.ended()
        # Without a gateway, nginx logs the whole request in its error log.
        assert await deferToThread(self.ask, port, f"/wss/device?id={unused}") == 502
        logged = await self.logged()
        assert '"GET /wss/user" 101' in logged
        assert '"GET /wss/device" 502' in logged
        assert f"127.0.0.1:{gateway} 502" in logged
        for secret in (key, unused, key.partition(".")[2], "id="):
            assert secret not in logged

    async def test_too_many_attempts_get_429(self) -> None:
        program, gateway = self.start("--redis", self.gateway_url, "--trusted-proxy", "127.0.0.1")
        await program.says("is ready")
        port = await self.front(gateway)
        path = "/wss/user?id=tried-too-often"
        while await deferToThread(self.ask, port, path) != 429:
            pass
        assert "tried-too-often" not in await self.logged()
