"""Log in to a websocket and print what it receives: python examples/receive.py 'ws://…?id=…'."""

import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor


class Receiver(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """Prints each message, and how it ended."""

    def onOpen(self) -> None:
        """The gateway has let us in."""
        print("connected", file=sys.stderr)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """An event, as JSON."""
        print(payload.decode(), flush=True)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        """The end, for whatever reason."""
        print(f"closed: {code} {reason}", file=sys.stderr)
        if reactor.running:
            reactor.stop()


if __name__ == "__main__":
    factory = WebSocketClientFactory(sys.argv[1])
    factory.protocol = Receiver
    connectWS(factory)
    reactor.run()
