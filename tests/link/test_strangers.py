"""A URL of another kind of server: one log line names what answered."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor as installed
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from opentera_twisted import BusUnavailable, ConnectionLost
from opentera_twisted.link import RedisAddress, blocking_connection
from opentera_twisted.link.protocol import CHECKS, CommandProtocol
from tests.helpers.authority import Authority
from tests.helpers.support import Collector, RedisTestCase, folder_of, log_of, start_bus, until

reactor: Any = installed

SECRET = "hush-hush"


class Talker(Protocol):
    """Greets a client and answers each of its messages."""

    greeting = b""
    answer: bytes | None = b""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        if self.answer is None:
            self.transport.loseConnection()
        else:
            self.transport.write(self.answer or data)


def talker(greeting: bytes = b"", answer: bytes | None = b"") -> Factory:
    """Start a server of `Talker`: without an answer it closes, with an empty one it echoes."""
    kind = type("Kind", (Talker,), {"greeting": greeting, "answer": answer})
    return Factory.forProtocol(kind)


class StrangerTests(RedisTestCase):
    def listen(self, factory: Any, tls: Any = None) -> str:
        """Return the host and port of a server for a URL."""
        port = (
            reactor.listenTCP(0, factory, interface="127.0.0.1")
            if tls is None
            else reactor.listenSSL(0, factory, tls, interface="127.0.0.1")
        )
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    async def cause(self, url: str) -> str:
        """Return the cause of a failed connection; assert one log line without a traceback."""
        logged = log_of(self)
        bus = start_bus(self, url)
        causes = Collector()
        bus.link.on_refused.append(lambda cause: causes(cause.getErrorMessage()))
        cause: str = (await causes.wait(1))[0]
        ours = [line for line in logged.items if "Redis" in line or "rror" in line]
        assert len(ours) == 1, ours
        assert "\n" not in cause
        assert SECRET not in f"{logged.items} {cause}"
        return cause

    async def plain(self, factory: Any) -> str:
        return await self.cause(f"redis://:{SECRET}@{self.listen(factory)}")

    async def test_an_unanswered_greeting_is_a_cause(self) -> None:
        bus = start_bus(self, f"redis://{self.listen(Factory.forProtocol(Protocol))}")
        await until(
            lambda: deferLater(reactor, 0, lambda: bus.link.states),
            lambda states: "authenticating" in states.values(),
        )
        said = str(bus.link.unavailable(1))
        assert "accepted the connection and has not answered" in said
        assert "rediss://" in said

    async def test_an_http_server_is_named(self) -> None:
        site = Site(Resource())
        site.noisy = False
        assert "an HTTP server answered instead of Redis: 'HTTP/1.1 400" in await self.plain(site)

    async def test_an_http_server_that_sends_a_page_only_is_named(self) -> None:
        page = talker(answer=b"<!DOCTYPE HTML>\n<p>Bad request: AUTH hush-hush")
        assert "an HTTP server answered" in await self.plain(page)

    async def test_a_mail_server_is_named_by_its_greeting(self) -> None:
        cause = await self.plain(talker(b"220 mail.example ESMTP\r\n", b"500 what\r\n"))
        assert "a mail or FTP server answered instead of Redis: '220 mail.example ESMTP'" in cause

    async def test_an_ssh_server_is_named(self) -> None:
        assert "an SSH server answered" in await self.plain(talker(b"SSH-2.0-OpenSSH_9\r\n"))

    async def test_an_unknown_server_is_not_quoted(self) -> None:
        cause = await self.plain(talker(answer=b"unknown: AUTH hush-hush\r\n"))
        assert "something else answered instead of Redis: its first byte is b'u'" in cause

    async def test_a_server_that_echoes_is_refused(self) -> None:
        assert "instead of Redis" in await self.plain(talker())

    async def test_a_server_that_answers_ok_to_everything_is_refused(self) -> None:
        assert "PING got no PONG" in await self.plain(talker(answer=b"+OK\r\n"))

    async def test_a_server_that_answers_with_lists_is_refused(self) -> None:
        lists = talker(answer=b"*1\r\n$1\r\nx\r\n")
        assert "PING got no PONG" in await self.plain(lists)

    async def test_a_server_that_closes_at_once_is_explained(self) -> None:
        cause = await self.plain(talker(answer=None))
        assert "closed the connection before it answered" in cause
        assert "rediss://" in cause

    async def test_a_blocking_connection_names_what_answered(self) -> None:
        host, port = self.listen(talker(answer=b"HTTP/1.1 400 Bad Request\r\n")).split(":")
        address = RedisAddress(hosts=((host, int(port)),))
        with pytest.raises(ConnectionLost, match="an HTTP server answered instead of Redis"):
            await deferToThread(blocking_connection.execute, address, "PING")
        with pytest.raises(BusUnavailable, match="not the name of a host"):
            await deferToThread(
                blocking_connection.execute, RedisAddress(hosts=(("a..b", 1),)), "PING"
            )

    async def test_a_server_with_tls_needs_the_other_scheme(self) -> None:
        pem = Authority(folder_of(self)).issue("127.0.0.1")
        tls = PrivateCertificate.loadPEM(pem.read_bytes()).options()
        cause = await self.cause(f"redis://:{SECRET}@{self.listen(talker(), tls)}")
        assert "rediss://" in cause

    async def test_a_server_without_tls_needs_the_other_scheme(self) -> None:
        for address in (
            self.listen(talker(b"220 mail.example ESMTP\r\n")),
            self.listen(talker(answer=None)),
        ):
            assert "redis:// instead of rediss://" in await self.cause(f"rediss://{address}")

    def test_a_server_that_never_said_anything_is_explained(self) -> None:
        # A Redis without TLS takes the handshake for an incomplete command and waits.
        lost, clock = Collector(), Clock()
        protocol = CommandProtocol(lost)
        protocol.makeConnection(StringTransport())
        protocol.watch(clock, 5, 8)
        clock.pump([5] + [8 / CHECKS] * CHECKS)
        protocol.connectionLost(Failure(ConnectionAborted()))
        cause = lost.items[0].getErrorMessage()
        assert "nothing answered for 13 seconds: it may not be Redis" in cause
        assert "rediss:// instead of redis://" in cause
