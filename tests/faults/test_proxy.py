"""The proxy of the fault tests keeps the order of the pieces that it delays."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.faults.proxy import Proxy, _Side

PIECES = [b"first", b"second", b"third"]


class Receiver:
    """The other end of a connection; fires with the pieces that it was sent."""

    _is_open = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.complete: Deferred[list[bytes]] = Deferred()

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        if len(self.sent) == len(PIECES):
            self.complete.callback(self.sent)


class ProxyTests(TestCase):
    async def test_a_piece_never_overtakes_a_delayed_one(self) -> None:
        proxy = Proxy(target=0)
        self.addCleanup(proxy.stop)
        receivers = [Receiver() for _ in range(100)]
        for receiver in receivers:
            side = _Side()
            side.proxy, side.peer = proxy, cast(Any, receiver)
            for piece in PIECES:
                proxy.delay = 0.0 if piece == PIECES[-1] else 0.01
                side.dataReceived(piece)
        sent = await gatherResults([receiver.complete for receiver in receivers])
        assert sent == [PIECES] * len(receivers)
