"""`SharedStop`: one stop of a service for all its callers, which a start waits for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.waiters import Waiters

_log: Final = Logger()


class SharedStop:
    """The stop of a service that can start again, also while it stops.

    Args:
        service: the service, whose ``running`` is true after a start.
        start: starts the service at once.
    """

    def __init__(self, service: Service, start: Callable[[], object]) -> None:
        self._service = service
        self._start = start
        self._is_stopping = False
        self._ended: Waiters[None] = Waiters()

    def start(self) -> None:
        """Start the service, which is ``running``; while it stops, start it afterwards."""
        if not self._is_stopping:
            self._start()

    def stop(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """Stop the service, or wait for the stop that is running.

        Args:
            stop: stops the service; called unless a stop is running.

        Returns:
            Fires when the stop has ended, after a start that waited for it. Cancelling it ends only
            the wait.

        Fails with:
            The error of the stop, for each caller.
        """
        ended = self._ended.wait()
        if not self._is_stopping:
            self._is_stopping = True
            Deferred.fromCoroutine(stop()).addBoth(self._finish)
        return ended

    def _finish(self, result: Failure | None) -> None:
        self._is_stopping = False
        name = type(self._service).__name__
        if isinstance(result, Failure) and not len(self._ended):  # all waits were cancelled
            _log.failure("the stop of {name} failed", result, name=name)
        if self._service.running:  # started again meanwhile
            callbacks.run(f"the start of {name} after its stop", self._start)
        self._ended.fire(result)
