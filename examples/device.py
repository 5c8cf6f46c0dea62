"""A device: python examples/device.py ws://127.0.0.1:40085/wss/device http://127.0.0.1:8080/login.

It receives events, and reconnects after a break of the network. The second URL is that of a login
of yours: it answers POST with a session key for this device. SIGTERM and Ctrl-C end the device.
"""

import sys
from typing import Any
from urllib.request import Request, urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogBeginner, textFileLogObserver

from opentera_twisted.client import Disconnected, Event, GatewayClient

gateway, login = sys.argv[1:]


def log_in() -> str:
    """Request a session key; a real device sends its credentials."""
    with urlopen(Request(login, method="POST"), timeout=10) as answer:
        key: str = answer.read().decode()
        return key


def supply_key() -> Deferred[str]:
    """Log in, in a thread: the request blocks."""
    return deferToThread(log_in)


def received(event: Event) -> None:
    """React to an event."""
    print(event.topic, event.name, event.data, flush=True)


def reload() -> None:
    """Read again what events keep up to date: some may have been missed."""
    print("gap", flush=True)


def changed() -> None:
    """Show whether the device is connected."""
    print("connected" if client.is_connected else f"not connected: {client.error}", flush=True)
    if isinstance(client.error, Disconnected):
        loop.stop()


globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
client = GatewayClient(gateway, supply_key, received, reload, on_change=changed)
loop: Any = reactor
loop.addSystemEventTrigger("before", "shutdown", client.stopService)
client.startService()
loop.run()
