"""All workers: started, watched, replaced when they die, and ended.

::

    starting --listens--> listening --ends--> waiting, 0 s to 10 s --> starting
    starting --ends--> waiting; when each has done so twice, and none listens: given up
    any --silent for 20 s without using the CPU, or for 120 s--> killed

A worker that dies is replaced at once; one that dies again soon, after a while that doubles.
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

from opentera_twisted.program.workers.channel import REPORT_INTERVAL, WorkerSettings
from opentera_twisted.program.workers.process import Worker
from opentera_twisted.program.workers.sockets import Shared, share

PATIENCE: Final = 20
"""Reports that a worker may owe while its process does nothing; then it hangs, and is killed."""

BUSY: Final = 6
"""Times as many that it may owe while it uses the CPU: it is late, or in an endless loop."""

SLOW_START: Final = 2
"""Reports that one that starts may owe besides, for each worker: all may start at once."""

STEADY: Final = 10.0
"""Seconds that a worker must have lived for the next to come at once."""

WAIT: Final = 0.5
"""Seconds before one that died soon is replaced; doubles each time."""

WAIT_AT_MOST: Final = 10.0

ATTEMPTS: Final = 2
"""Times that each worker may fail to start, when none of them serves; then all is given up."""


class Pool(Service):
    """Runs workers.

    Args:
        reactor: starts processes and keeps time.
        count: of the workers.
        endpoints: that they share, as Twisted reads them.
        settings: what each is to do.
        give_up: called, with the reason, when no worker can start.
        patience: reports that a worker may owe while its process does nothing.

    Attributes:
        workers: those that run, by their number.
        count: as given.
        replaced: how many workers have died.
        on_changed: called, each, when one of them has become ready, or ceased to be.
        on_died: called, each, with a worker that has died.
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
        self._waits: dict[int, float] = defaultdict(float)  # for the next one, by number
        self._replacing: dict[int, IDelayedCall] = {}
        self._failures: Counter[int] = Counter()
        self._has_given_up = False
        self._emptied: Deferred[None] | None = None
        self._was_complete = False
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor

    @property
    def ready(self) -> int:
        """How many workers let clients in."""
        return sum(worker.is_ready for worker in self.workers.values())

    def have_told(self) -> None:
        """Have workers, from the next one that is started, tell what the admin endpoint shows."""
        self._settings = evolve(self._settings, tells=True)

    def missing(self) -> str:
        """What is not as it should be; empty when all workers are ready."""
        short = self.count - self.ready
        return f"{short} of {self.count} workers not ready" if short else ""

    def privilegedStartService(self) -> None:
        """Bind the sockets.

        Raises:
            CannotListenError, OSError, OverflowError: that is not possible.
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
        """Have all workers send their clients away and end.

        Returns:
            Fires when none is left.
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
        await DeferredList([one.close() for one in shared])
        if self.workers:
            self._emptied = Deferred()
            await self._emptied

    def kill(self) -> None:
        """End those that are left."""
        for worker in self.workers.values():
            worker.kill()

    def reload(self) -> None:
        """Have all workers read their certificate again."""
        for worker in self.workers.values():
            worker.reload()

    def _start(self, number: int) -> None:
        self._replacing.pop(number, None)
        worker = Worker(number, self._settings, self._changed, self._ended)
        worker.silent = worker.idle = -SLOW_START * self.count
        self._born[number] = self._reactor.seconds()
        descriptors = [one.descriptor(number) for one in self._shared]
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
        for tell in self.on_changed:
            tell()

    def _ended(self, worker: Worker, how: str) -> None:
        del self.workers[worker.number]
        if self._emptied is not None and not self.workers:
            self._emptied.callback(None)
        self._lost(worker, f"ended: {how}")

    def _lost(self, worker: Worker, how: str) -> None:
        """Replace a worker, unless all are to end."""
        number = worker.number
        if not self.running:
            return
        if worker.lease is None:
            self._failures[number] += 1
        if all(self._failures[one] >= ATTEMPTS for one in range(1, self.count + 1)):
            self._log.error(
                "worker {worker}, process {pid}, {how}", worker=number, pid=worker.pid, how=how
            )
            if not self._has_given_up:
                self._has_given_up = True
                self._give_up(f"no worker can be started; the last one {how}")
            return
        if self._reactor.seconds() - self._born[number] >= STEADY:
            self._waits[number] = 0
        wait = self._waits[number]
        self._waits[number] = min(2 * wait or WAIT, WAIT_AT_MOST)
        self.replaced += 1
        self._log.error(
            "worker {worker}, process {pid}, {how}; another one takes its place {when}",
            worker=number,
            pid=worker.pid,
            how=how,
            when=f"in {wait:g} s" if wait else "now",
        )
        self._replacing[number] = self._reactor.callLater(wait, self._start, number)
        self._changed()
        for tell in self.on_died:
            tell(worker)

    def _look(self) -> None:
        """Kill workers that hang.

        Count checks, not seconds, so that a stalled parent does not kill healthy workers.
        """
        for worker in list(self.workers.values()):
            worker.owes_a_report()
            if worker.idle == self._patience or worker.silent == BUSY * self._patience:
                self._log.error(
                    "worker {worker}, process {pid}, does not answer: it is killed",
                    worker=worker.number,
                    pid=worker.pid,
                )
                worker.kill()
