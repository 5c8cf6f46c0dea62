"""The URL of a gateway, and TLS with it."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from opentera_twisted import InvalidArgument
from opentera_twisted.client.address import GatewayAddress
from tests.helpers.authority import Authority
from tests.helpers.support import folder_of, turn

from .scripted import ScriptedGateway
from .test_client import ClientTestCase


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("ws://h/wss/user", "h", 80, "/wss/user"),
        ("wss://h", "h", 443, ""),
        ("https://H:8443/x?a=b", "h", 8443, "/x"),
        ("ws://[::1]:40085/", "::1", 40085, "/"),
        ("wss://bücher.example/ü x", "xn--bcher-kva.example", 443, "/%C3%BC%20x"),
    ],
)
def test_a_url_is_read(url: str, host: str, port: int, path: str) -> None:
    address = GatewayAddress.parse(url)
    assert (address.host, address.port, address.url.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        None, b"ws://h/", "", "h", "ws:", "ws:///x", "redis://h/", "ftp://h/", "ws://h:0/",
        "ws://h:99999/", "ws://[/", "ws://h st/", "ws://user:SECRET@h/", "ws://h/#SECRET",
        "ws://h/?id=SECRET", "ws://h/?a=b&recover=SECRET", "ws://h/?received=1",
    ],
)  # fmt: skip
def test_an_invalid_gateway_url_is_refused(url: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        GatewayAddress.parse(url)
    assert "SECRET" not in str(caught.value)


def test_the_text_for_a_log_has_no_query() -> None:
    assert str(GatewayAddress.parse("wss://h:1/x?a=SECRET")) == "wss://h:1/x"


def test_a_file_that_cannot_be_used_is_named() -> None:
    for ca in ("/nowhere.pem", "/etc/passwd"):
        with pytest.raises(InvalidArgument, match=ca):
            GatewayAddress.parse("wss://h/", ca)
    for url, verify in (("ws://h/", True), ("wss://h/", False)):
        with pytest.raises(InvalidArgument, match="ca is for"):
            GatewayAddress.parse(url, "/etc/passwd", verify=verify)


class TLSTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(folder_of(self))

    async def serve(self, name: str) -> str:
        """Serve over TLS with a certificate for a name; the URL names 127.0.0.1."""
        pem = self.authority.issue(name)
        endpoint = serverFromString(reactor, f"ssl:0:interface=127.0.0.1:privateKey={pem}")
        self.server = ScriptedGateway()
        port: Any = await endpoint.listen(self.server)
        self.addCleanup(port.stopListening)
        return f"wss://127.0.0.1:{port.getHost().port}/wss/device"

    async def test_a_certificate_of_a_known_authority_is_accepted(self) -> None:
        url = await self.serve("127.0.0.1")
        await self.start(url=url, ca=self.authority.file)
        self.server.publish("1")
        await self.events.wait(1)

    async def test_an_unknown_authority_and_another_host_get_no_key(self) -> None:
        for name, ca, told in (
            ("127.0.0.1", None, "certificate verify failed"),
            ("elsewhere.example", self.authority.file, "another host"),
        ):
            url = await self.serve(name)
            client = self.make(url=url, ca=ca)
            client.startService()
            while told not in str(client.error):
                await turn()
            assert self.server.requests.items == []
            await client.stopService()
        self.flushLoggedErrors(SSL.Error)

    async def test_without_verification_anyone_is_accepted_with_a_warning(self) -> None:
        url = await self.serve("elsewhere.example")
        await self.start(url=url, verify=False)
        assert any("not checking the certificate" in line for line in self.logged.items)
