"""`twistd opentera-bus --tracing`: spans that leave over OTLP/HTTP, and the program's end."""

from __future__ import annotations

import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from tests.helpers.processes import Process, twistd
from tests.helpers.support import UUID, Collector, RedisTestCase, free_port
from tests.helpers.websockets import connect, leave


class Receiver:
    """A collector of traces in a thread.

    Attributes:
        received: service, name and bytes of each received span.
        port: TCP port of the collector.
    """

    def __init__(self) -> None:
        self.received = Collector()
        services: Any = reactor

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                content = handler.rfile.read(int(handler.headers["Content-Length"]))
                services.callFromThread(self.take, handler.path, content)
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, content: bytes) -> None:
        """Collect the spans of a request."""
        assert path == "/v1/traces"
        for part in ExportTraceServiceRequest.FromString(content).resource_spans:
            resource = {item.key: item.value.string_value for item in part.resource.attributes}
            for scope in part.scope_spans:
                for span in scope.spans:
                    self.received((resource["service.name"], span.name, span.SerializeToString()))

    async def wait_for(self, name: str) -> tuple[str, str, bytes]:
        """Return the first span of a name, with its service."""
        count = 0
        while True:
            count += 1
            found: tuple[str, str, bytes] = (await self.received.wait(count))[count - 1]
            if found[1] == name:
                return found

    def stop(self) -> Deferred[None]:
        """Stop listening."""

        def stop() -> None:
            self._server.shutdown()
            self._server.server_close()

        return deferToThread(stop)


class ExportTests(RedisTestCase):
    def start(self, collector: int, *options: str, delay: int = 100) -> tuple[Process, int]:
        port = free_port()
        program = twistd(
            *("--redis", self.gateway_url, "--admin", "none", "--tracing"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
            *options,
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
                "OTEL_BSP_SCHEDULE_DELAY": str(delay),
            },
            fork=False,
        )
        self.addCleanup(program.kill)
        return program, port

    def collector(self) -> Receiver:
        receiver = Receiver()
        self.addCleanup(receiver.stop)
        return receiver

    async def log_in(self, port: int) -> str:
        key = await SessionKeys(await self.bus(self.gateway_url)).issue("user", UUID)
        self.addCleanup(leave, await connect(port, f"/wss/user?id={key}"))
        return key

    async def test_logins_reach_the_collector_before_the_program_ends(self) -> None:
        receiver = self.collector()
        program, port = self.start(receiver.port, "--name", "gateway-1", delay=3_600_000)
        await program.says("is ready")
        key = await self.log_in(port)
        program.send(signal.SIGTERM)
        service, _, span = await receiver.wait_for("login user")
        assert await program.ended() == -signal.SIGTERM
        assert service == "gateway-1"
        assert key.partition(".")[2].encode() not in span

    async def test_workers_send_their_spans(self) -> None:
        receiver = self.collector()
        program, port = self.start(receiver.port, "--workers", "2")
        await program.says("all 2 workers are ready")
        await self.log_in(port)
        assert (await receiver.wait_for("login user"))[0] == "opentera-bus"

    async def test_an_absent_collector_does_not_delay_the_end(self) -> None:
        program, port = self.start(free_port())
        await program.says("is ready")
        await self.log_in(port)
        program.send(signal.SIGTERM)
        assert await program.ended() == -signal.SIGTERM
