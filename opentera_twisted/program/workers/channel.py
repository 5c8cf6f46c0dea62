"""Messages between a worker and its parent, over a private socket.

::

    to the worker    begin(settings, sockets)  listen on that many sockets, accept clients
                     stop()             close and report the clients, exit
                     reload()           read the certificate again
                     metrics()          request: the metrics, as JSON
    to the parent    listening(lease)   accepting clients; the gateway's name in Redis
                     report(ready, state)  each second: heartbeat and state
                     log(event)         an event for the log

Secrets travel here, not in the command line or the environment, which others can read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

DESCRIPTOR: Final = 3
"""File descriptor of the channel in a worker; those of the listening sockets follow."""

REPORT_INTERVAL: Final = 1.0
"""Seconds between a worker's reports."""


@frozen(kw_only=True)
class WorkerSettings:
    """Settings of a worker.

    Attributes:
        redis: URL with the password.
        name: name in Redis's list of clients, to which the worker appends its number.
        gateway: `GatewaySettings` as a JSON object.
        certificate: paths of the certificate and of its private key, or None.
        tracing: True sends spans to an OpenTelemetry collector.
        has_state: True if reports include the state for the admin endpoint.
    """

    redis: str
    name: str
    gateway: Mapping[str, Any]
    certificate: tuple[str, str] | None = None
    tracing: bool = False
    has_state: bool = False


class Channel(Int32StringReceiver):
    """One end of the socket.

    Args:
        answers: functions to call, by name of the message.
        lost: called when the other end is gone.
    """

    MAX_LENGTH = 2**26
    _log = Logger()

    def __init__(
        self, answers: Mapping[str, Callable[..., Any]], lost: Callable[[], None] = lambda: None
    ) -> None:
        self._answers = answers
        self._lost = lost
        self._numbers = itertools.count(1)
        self._asked: dict[int, Deferred[Any]] = {}

    def tell(self, what: str, *arguments: Any) -> None:
        """Send a message; ignore it if the other end is gone."""
        self._send(None, what, arguments)

    def ask(self, what: str, *arguments: Any) -> Deferred[Any]:
        """Send a request.

        Returns:
            Fires with the reply; cancelling ignores the reply.

        Fails with:
            ConnectionDone: the other end is gone.
        """
        if not self.connected:
            return fail(ConnectionDone())
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._asked[number] = answer
        self._send(number, what, arguments)
        return answer

    def close(self) -> None:
        """Close the socket once everything is written."""
        transport: Any = self.transport
        if self.connected:
            transport.loseConnection()

    def _forget(self, number: int) -> None:
        del self._asked[number]

    def _send(self, number: int | None, what: str | None, value: Any) -> None:
        if self.connected:
            self.sendString(json.dumps([number, what, value]).encode())

    def stringReceived(self, string: bytes) -> None:
        """Handle a message, a request or a reply."""
        number, what, value = json.loads(string)
        if what is None:
            answer = self._asked.pop(number, None)
            if answer is not None:
                answer.callback(value)
            return
        try:
            found = self._answers[what](*value)
        except Exception:  # noqa: BLE001 (the channel survives; the requester has a timeout)
            self._log.failure("{what} failed", what=what)
            return
        if number is not None:
            self._send(number, None, found)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the pending requests: the other end is gone."""
        self.connected = 0
        pending, self._asked = self._asked, {}
        for reply in pending.values():
            reply.errback(reason)
        self._lost()
