"""Log in to a websocket and print what it receives: python examples/receive.py 'ws://…?id=…'."""

import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor
from twisted.python.failure import Failure


class Receiver(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """A client that prints each message, and the close code at the end."""

    opened = False

    def onOpen(self) -> None:
        """Report that the gateway accepted the client."""
        Receiver.opened = True
        print("connected", file=sys.stderr)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Print an event, as JSON."""
        print(payload.decode(), flush=True)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        """Report the close code and stop."""
        print(f"closed: {code} {reason}", file=sys.stderr)
        stop()


class Factory(WebSocketClientFactory):  # type: ignore[misc]
    """A factory for the single connection."""

    protocol = Receiver

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Report that nothing listens there."""
        print(reason.getErrorMessage(), file=sys.stderr)
        stop()


def stop() -> None:
    """Stop the program, unless Ctrl-C already has."""
    if reactor.running:
        reactor.stop()


if __name__ == "__main__":
    connectWS(Factory(sys.argv[1]))
    reactor.run()
    sys.exit(0 if Receiver.opened else 1)  # such as 403 for a used key
