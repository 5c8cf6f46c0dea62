"""Log in to a websocket and print what it receives: python examples/receive.py 'ws://…?id=…'."""

import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor
from twisted.python.failure import Failure


class Receiver(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """Prints each message, and how it ended."""

    opened = False

    def onOpen(self) -> None:
        """The gateway has let us in."""
        Receiver.opened = True
        print("connected", file=sys.stderr)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """An event, as JSON."""
        print(payload.decode(), flush=True)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        """The end, for whatever reason."""
        print(f"closed: {code} {reason}", file=sys.stderr)
        stop()


class Factory(WebSocketClientFactory):  # type: ignore[misc]
    """Makes the one connection."""

    protocol = Receiver

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Nothing listens there."""
        print(reason.getErrorMessage(), file=sys.stderr)
        stop()


def stop() -> None:
    """End the program, unless Ctrl-C already does."""
    if reactor.running:
        reactor.stop()


if __name__ == "__main__":
    connectWS(Factory(sys.argv[1]))
    reactor.run()
    sys.exit(0 if Receiver.opened else 1)  # such as for a key that was used: 403
