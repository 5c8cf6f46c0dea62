"""What a worker and its parent say to each other, over a socket that both alone hold.

::

    to the worker    begin(settings, sockets)  listen on so many, and let clients in
                     stop()             send them away, report them, end
                     reload()           read the certificate again
                     metrics()          asked: what Prometheus reads, as JSON
    to the parent    listening(lease)   clients may come; the gateway's name in Redis
                     report(ready, state)  each second: a sign of life, and how it is
                     log(event)         an event for the log

Secrets go this way, and not by the command line or the environment, which others can read.
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
"""Of the channel, in a worker; those of the listening sockets follow it."""

REPORT_INTERVAL: Final = 1.0
"""Seconds from one report of a worker to the next."""


@frozen(kw_only=True)
class WorkerSettings:
    """What a worker is to do.

    Attributes:
        redis: URL, with its password.
        name: in Redis's list of clients; the worker's number is put behind it.
        gateway: `GatewaySettings` as JSON can hold them.
        certificate: paths of the certificate and of its private key, or None.
        tells: whether reports have what the admin endpoint shows.
    """

    redis: str
    name: str
    gateway: Mapping[str, Any]
    certificate: tuple[str, str] | None = None
    tells: bool = False


class Channel(Int32StringReceiver):
    """One end.

    Args:
        answers: what is called, by what the other end says.
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
        """Say something; when nobody hears it any more, that is no error."""
        self._send(None, what, arguments)

    def ask(self, what: str, *arguments: Any) -> Deferred[Any]:
        """Say something that is answered.

        Returns:
            Fires with the answer; cancelling forgets it.

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
        """Hear and say nothing more, once all that was said is written."""
        transport: Any = self.transport
        if self.connected:
            transport.loseConnection()

    def _forget(self, number: int) -> None:
        del self._asked[number]

    def _send(self, number: int | None, what: str | None, value: Any) -> None:
        if self.connected:
            self.sendString(json.dumps([number, what, value]).encode())

    def stringReceived(self, string: bytes) -> None:
        """Take what the other end says, asks or answers."""
        number, what, value = json.loads(string)
        if what is None:
            answer = self._asked.pop(number, None)
            if answer is not None:
                answer.callback(value)
            return
        try:
            found = self._answers[what](*value)
        except Exception:  # noqa: BLE001 (the channel goes on; who asked waits no longer than it likes)
            self._log.failure("{what} failed", what=what)
            return
        if number is not None:
            self._send(number, None, found)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end is gone."""
        self.connected = 0
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.errback(reason)
        self._lost()
