"""What runs in a worker: a bus and a gateway, on sockets that were bound by the parent.

It ends by itself when the parent is gone, however that ended: clients are sent away and reported
as gone all the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from opentera_twisted._internal.clock import make_steady
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.tls import Certificate, read_again
from opentera_twisted.program import garbage
from opentera_twisted.program.gateway_options import make_gateway
from opentera_twisted.program.settings import GatewaySettings
from opentera_twisted.program.workers.channel import (
    DESCRIPTOR,
    REPORT_INTERVAL,
    Channel,
    WorkerSettings,
)
from opentera_twisted.program.workers.log import Sending
from opentera_twisted.program.workers.sockets import accept

READY_WITHIN: Final = 3.0
"""Seconds for the link to be ready, after which clients are answered all the same."""

LAST_WORDS: Final = 2.0
"""Seconds that the parent may take to read what was said last."""


def run(number: int) -> int:
    """Serve as the parent says until it says no more.

    Args:
        number: of the worker.

    Returns:
        The exit status.
    """
    from twisted.internet import reactor as installed  # noqa: PLC0415 (the caller has chosen it)

    reactor: Any = installed
    make_steady(reactor)
    child = Child(reactor, number)
    globalLogBeginner.beginLoggingTo(
        [Sending(reactor, lambda text: child.channel.tell("log", text))], redirectStandardIO=False
    )
    factory = Factory.forProtocol(lambda: child.channel)
    factory.noisy = False
    reactor.adoptStreamConnection(DESCRIPTOR, socket.AF_UNIX, factory)
    os.close(DESCRIPTOR)
    reactor.run()
    return child.status


class Child:
    """Does what the parent says.

    Args:
        reactor: of this process.
        number: of the worker.

    Attributes:
        channel: to the parent.
        status: with which the process ends.
    """

    _log = Logger()

    def __init__(self, reactor: Any, number: int) -> None:
        self.channel = Channel(
            {
                "begin": self._begin,
                "stop": self._stop,
                "reload": self._reload,
                "metrics": self._metrics,
            },
            self._parent_is_gone,
        )
        self.status = 0
        self._reactor = reactor
        self._number = number
        self._serving: Serving | None = None
        self._is_ending = False
        self._gone: Deferred[None] = Deferred()
        self._reporting = LoopingCall(self._report)
        self._reporting.clock = reactor
        # Whatever ends the reactor: the parent, its end, or a SIGTERM to this worker alone.
        reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(self._end())
        )

    def _begin(self, settings: Mapping[str, Any], sockets: int) -> None:
        try:
            self._serving = Serving(
                self._reactor,
                self._number,
                WorkerSettings(**settings),
                range(DESCRIPTOR + 1, DESCRIPTOR + 1 + sockets),
                self._report,
            )
        except Exception:  # noqa: BLE001 (whatever it is, the parent hears of it)
            self._failed(Failure())
            return
        lease = self._serving.gateway.lease
        self._serving.listening.addCallback(lambda _: self.channel.tell("listening", lease))
        self._serving.listening.addErrback(self._failed)
        self._reporting.start(REPORT_INTERVAL)
        garbage.collect_seldom()

    def _failed(self, failure: Failure) -> None:
        if failure.check(BusError, OSError):
            self._log.critical("it cannot serve: {reason}", reason=failure.getErrorMessage())
        else:
            self._log.failure("it cannot serve", failure)
        self.status = 1
        self._stop()

    def _report(self) -> None:
        if self._serving is None:  # it is being made
            return
        is_ready, told = self._serving.report()
        is_ready = is_ready and self._serving.listening.called and not self._is_ending
        self.channel.tell("report", is_ready, told)

    def _reload(self) -> None:
        if self._serving is not None:
            self._serving.reload()

    def _metrics(self) -> Any:
        return [] if self._serving is None else self._serving.metrics()

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # it is ending already
            self._reactor.stop()

    def _parent_is_gone(self) -> None:
        self._gone.callback(None)
        self._stop()

    async def _end(self) -> None:
        self._is_ending = True
        if self._serving is not None:
            self._report()
            await self._serving.stop()
        if self._reporting.running:
            self._reporting.stop()
        if self.channel.connected:
            self.channel.close()
            with suppress(DeferredTimeout):
                await self._gone.addTimeout(LAST_WORDS, self._reactor)


class Serving:
    """A gateway that listens, from `WorkerSettings` that the parent has sent.

    Args:
        reactor: of it all.
        number: of the worker.
        settings: what it is to do.
        descriptors: of the listening sockets.
        changed: called when clients can log in, or cannot any more.

    Raises:
        BusError, OSError: it cannot.

    Attributes:
        gateway: that lets clients in.
        listening: fires when they are accepted.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        number: int,
        settings: WorkerSettings,
        descriptors: range,
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._is_stopping = False
        self._certificate = (
            None if settings.certificate is None else Certificate(*settings.certificate)
        )
        self._bus = Bus(settings.redis, reactor=reactor, name=f"{settings.name}.{number}")
        self.gateway = make_gateway(self._bus, GatewaySettings.from_json(settings.gateway))
        self._overview: Any = None
        if settings.tells:
            from opentera_twisted.admin import LocalOverview  # noqa: PLC0415 (an extra)

            self._overview = LocalOverview(self._bus, self.gateway)
        factory: Any = self.gateway.factory
        if self._certificate is not None:
            factory = self._certificate.wrap(factory, reactor)
        self._bus.link.on_ready.append(changed)
        self._bus.link.on_lost.append(lambda _: changed())
        self._bus.startService()
        self.gateway.startService()
        if self._overview is not None:
            self._overview.start()
        self._ports: list[Any] = []
        # Who waits in the queue is better off there than with a 503, but not for long.
        ready = self._bus.connected().addTimeout(READY_WITHIN, reactor)
        self.listening = ready.addBoth(lambda _: self._accept(descriptors, factory))

    def _accept(self, descriptors: range, factory: Any) -> None:
        if not self._is_stopping:
            self._ports = [accept(self._reactor, one, factory) for one in descriptors]

    def report(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether clients can log in, and what the admin endpoint shows."""
        told = {} if self._overview is None else self._overview.latest()
        return self._bus.link.is_ready, told

    def metrics(self) -> Any:
        """What Prometheus reads, as JSON."""
        if self._overview is None:
            return []
        from opentera_twisted.program.workers.overview import as_json  # noqa: PLC0415 (an extra)

        return as_json(self._overview.families())

    def reload(self) -> None:
        """Read the certificate again."""
        read_again(self._certificate)

    async def stop(self) -> None:
        """Listen no more, send clients away, close the link: in this order, and in time."""
        stopped = Deferred.fromCoroutine(self._stop())
        timeout = self.gateway.limits.shutdown_timeout
        if timeout:
            stopped.addTimeout(timeout, self._reactor)
        try:
            await stopped
        except DeferredTimeout:
            self._log.error("Redis did not answer in time; ending all the same")

    async def _stop(self) -> None:
        if self._overview is not None:
            self._overview.stop()
        self._is_stopping = True
        for port in self._ports:
            port.stopListening()
        await self.gateway.stopService()
        await self._bus.stopService()
