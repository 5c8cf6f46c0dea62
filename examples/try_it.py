"""Print the addresses of the gateway of ``make run``, and a session key for it."""

import sys
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.task import react

from opentera_twisted import Bus, BusError, SessionKeys

WEBSOCKET = "ws://127.0.0.1:40085/wss/user"
CONSOLE = "http://127.0.0.1:40086"
LIFETIME = 3600.0
PATIENCE = 20.0

TEXT = """
The gateway is running; end it with Ctrl-C.

  console     {console}
  health      {console}/health
  websocket   {websocket}?id={key}
              (this key logs in once, within the hour)

Receive events in a second terminal, and send one from a third:

  .venv/bin/python examples/receive.py '{websocket}?id={key}'
  .venv/bin/opentera-bus publish websocket.user.{uuid}.events \\
      '{{"@type": "UserEvent", "userFullname": "Zoé"}}'
"""


async def main(reactor: Any) -> None:
    """Wait for Redis, issue a key and print it."""
    bus = Bus(reactor=reactor, name="try-it")
    bus.startService()
    uuid = str(uuid4())
    try:
        await bus.connected().addTimeout(PATIENCE, reactor)
        key = await SessionKeys(bus).issue("user", uuid, ttl=LIFETIME)
        print(TEXT.format(console=CONSOLE, websocket=WEBSOCKET, key=key, uuid=uuid), flush=True)
    except TimeoutError:
        print("no Redis appeared: see the lines above", file=sys.stderr)
    except BusError as error:
        print(error, file=sys.stderr)
    finally:
        await bus.stopService()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
