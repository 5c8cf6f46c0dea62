"""The supervisor of all workers: starts, watches, replaces and stops them.

::

    starting --listens--> listening --ends--> waiting, 0 s to 10 s --> starting
    starting --ends--> waiting; after two attempts of each, while none listens: give up
    any --silent for 20 s without using the CPU, or for 120 s--> killed

The pool replaces a dead worker at once. If the replacement dies soon, it waits with exponential
back-off.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.program.workers.channel import REPORT_INTERVAL, WorkerSettings
from opentera_twisted.program.workers.process import Worker
from opentera_twisted.program.workers.sockets import Shared, share

PATIENCE: Final = 20
"""Consecutive missed reports of an idle process, after which it counts as hung and is killed."""

BUSY: Final = 6
"""Factor on `PATIENCE` for a process that uses the CPU: it is slow, or in an endless loop."""

SLOW_START: Final = 2
"""Additional missed reports during a start, for each worker, since all may start at once."""

STEADY: Final = 10.0
"""Seconds of life after which a worker is replaced without delay."""

WAIT: Final = 0.5
"""Seconds before the replacement of a short-lived worker; doubles each time."""

WAIT_AT_MOST: Final = 10.0

ATTEMPTS: Final = 2
"""Failed starts of each worker, while none serves, after which the pool gives up."""


class Pool(Service):
    """Runs workers.

    Attributes:
        workers: running workers by number.
        count: number of workers.
        replaced: number of workers that died and were replaced.
        on_changed: functions called when the readiness of a worker changes.
        on_died: functions called with a worker that died.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        count: int,
        endpoints: Sequence[str],
        settings: WorkerSettings,
        give_up: Callable[[str], None],
        patience: int = PATIENCE,
    ) -> None:
        self.workers: dict[int, Worker] = {}
        self.count = count
        self.replaced = 0
        self.on_changed: list[Callable[[], None]] = []
        self.on_died: list[Callable[[Worker], None]] = []
        self._reactor = reactor
        self._endpoints = endpoints
        self._settings = settings
        self._give_up = give_up
        self._patience = patience
        self._shared: list[Shared] = []
        self._born: dict[int, float] = {}
        self._waits: dict[int, float] = defaultdict(
            float
        )  # seconds before the next replacement, by number
        self._replacing: dict[int, IDelayedCall] = {}
        self._failures: Counter[int] = Counter()
        self._has_given_up = False
        self._emptied: Waiters[None] = Waiters()
        self._was_complete = False
        self._watch = LoopingCall(self._check)
        self._watch.clock = reactor

    @property
    def ready(self) -> int:
        """Return the number of workers that accept clients."""
        return sum(worker.is_ready for worker in self.workers.values())

    def collect_reports(self) -> None:
        """Request the state for the admin endpoint from all workers that start from now on."""
        self._settings = evolve(self._settings, has_state=True)

    def missing(self) -> str:
        """Return the number of missing workers, for people; empty if all are ready."""
        short = self.count - self.ready
        return f"{short} of {self.count} workers not ready" if short else ""

    def privilegedStartService(self) -> None:
        """Bind the sockets.

        Raises:
            CannotListenError, OSError, OverflowError: an endpoint cannot be bound.
        """
        super().privilegedStartService()
        for endpoint in self._endpoints:
            self._shared.append(share(self._reactor, endpoint, self.count))

    def startService(self) -> None:
        """Start the workers."""
        super().startService()
        for number in range(1, self.count + 1):
            self._start(number)
        if self.running:
            self._watch.start(REPORT_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """Stop all workers, which close their clients.

        Returns:
            Fires when all have ended.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        super().stopService()
        if self._watch.running:
            self._watch.stop()
        for waiting in self._replacing.values():
            waiting.cancel()
        self._replacing.clear()
        for worker in self.workers.values():
            worker.stop()
        shared, self._shared = self._shared, []
        await DeferredList([endpoint.close() for endpoint in shared])
        if self.workers:
            await self._emptied.wait()

    def kill(self) -> None:
        """Kill the remaining workers."""
        for worker in self.workers.values():
            worker.kill()

    def reload(self) -> None:
        """Reload the certificate in all workers."""
        for worker in self.workers.values():
            worker.reload()

    def _start(self, number: int) -> None:
        self._replacing.pop(number, None)
        worker = Worker(number, self._settings, self._changed, self._ended)
        worker.silent = worker.idle = -SLOW_START * self.count
        self._born[number] = self._reactor.seconds()
        descriptors = [endpoint.descriptor(number) for endpoint in self._shared]
        try:
            worker.spawn(self._reactor, descriptors)
        except OSError as error:
            self._lost(worker, f"could not be started: {error}")
        else:
            self.workers[number] = worker

    def _changed(self) -> None:
        if any(worker.state == "listening" for worker in self.workers.values()):
            self._failures.clear()
        is_complete = not self.missing()
        if is_complete and not self._was_complete:
            self._log.info("all {count} workers are ready", count=self.count)
        self._was_complete = is_complete
        for notify in self.on_changed:
            notify()

    def _ended(self, worker: Worker, how: str) -> None:
        del self.workers[worker.number]
        if not self.workers:
            self._emptied.fire(None)
        self._lost(worker, f"ended: {how}")

    def _lost(self, worker: Worker, how: str) -> None:
        """Replace a worker, unless the pool is stopping."""
        number = worker.number
        if not self.running:
            return
        if worker.lease is None:
            self._failures[number] += 1
        if all(self._failures[each] >= ATTEMPTS for each in range(1, self.count + 1)):
            self._log.error(
                "worker {worker}, process {pid}, {how}", worker=number, pid=worker.pid, how=how
            )
            if not self._has_given_up:
                self._has_given_up = True
                self._give_up(f"no worker can start; the last one {how}")
            return
        if self._reactor.seconds() - self._born[number] >= STEADY:
            self._waits[number] = 0
        wait = self._waits[number]
        self._waits[number] = min(2 * wait or WAIT, WAIT_AT_MOST)
        self.replaced += 1
        self._log.error(
            "worker {worker}, process {pid}, {how}; replacing it {when}",
            worker=number,
            pid=worker.pid,
            how=how,
            when=f"in {wait:g} s" if wait else "now",
        )
        self._replacing[number] = self._reactor.callLater(wait, self._start, number)
        self._changed()
        for notify in self.on_died:
            notify(worker)

    def _check(self) -> None:
        """Kill workers that hang.

        Count checks, not seconds, so that a stalled parent does not kill healthy workers.
        """
        for worker in list(self.workers.values()):
            worker.owes_a_report()
            if worker.idle == self._patience or worker.silent == BUSY * self._patience:
                self._log.error(
                    "worker {worker}, process {pid}, does not respond; killing it",
                    worker=worker.number,
                    pid=worker.pid,
                )
                worker.kill()
