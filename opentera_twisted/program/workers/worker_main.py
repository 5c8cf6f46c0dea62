"""The program of a worker: a bus and a gateway, on sockets bound by the parent.

When the parent is gone, for any reason, the worker closes and reports its clients and ends.
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

from opentera_twisted._internal import garbage
from opentera_twisted._internal.clock import make_steady
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.tls import Certificate, read_again
from opentera_twisted.program.gateway_options import make_gateway
from opentera_twisted.program.gateway_service import GatewayService
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
"""Seconds to wait for the link before accepting clients anyway."""

LAST_WORDS: Final = 2.0
"""Seconds to wait until the parent has read the last messages."""


def run(number: int) -> int:
    """Serve until the parent stops the worker or is gone, and return the exit status."""
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
    """Executes the parent's commands."""

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
        # For every cause: the parent's command, the parent's end, or a SIGTERM to this worker.
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
        except Exception:  # noqa: BLE001 (report any failure to the parent)
            self._failed(Failure())
            return
        lease = self._serving.gateway.lease
        self._serving.listening.addCallback(lambda _: self.channel.tell("listening", lease))
        self._serving.listening.addErrback(self._failed)
        self._reporting.start(REPORT_INTERVAL)
        garbage.collect_briefly()

    def _failed(self, failure: Failure) -> None:
        if failure.check(BusError, OSError):
            self._log.critical("cannot serve: {reason}", reason=failure.getErrorMessage())
        else:
            self._log.failure("cannot serve", failure)
        self.status = 1
        self._stop()

    def _report(self) -> None:
        if self._serving is None:  # not constructed yet
            return
        is_ready, report = self._serving.report()
        is_ready = is_ready and self._serving.listening.called and not self._is_ending
        self.channel.tell("report", is_ready, report)

    def _reload(self) -> None:
        if self._serving is not None:
            self._serving.reload()

    def _metrics(self) -> Any:
        return [] if self._serving is None else self._serving.metrics()

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # already stopping
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
    """A bus and a listening gateway, from the parent's `WorkerSettings`.

    Raises:
        BusError, OSError: the settings cannot be used.

    Attributes:
        gateway: gateway of the worker.
        listening: fires when the gateway accepts connections.
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
        self._spans: Any = None
        if settings.tracing:
            from opentera_twisted.program.tracing import SpanExport  # noqa: PLC0415 (an extra)

            self._spans = SpanExport(reactor, settings.name)
            self._spans.start()
        self._bus = Bus(
            settings.redis,
            reactor=reactor,
            name=f"{settings.name}.{number}",
            tracing=settings.tracing,
        )
        self.gateway = make_gateway(self._bus, GatewaySettings.from_json(settings.gateway))
        self._listing = GatewayService(self._bus, self.gateway, f"{settings.name}.{number}")
        self._overview: Any = None
        if settings.has_state:
            from opentera_twisted.admin import LocalOverview  # noqa: PLC0415 (an extra)

            self._overview = LocalOverview(self._bus, self.gateway)
        factory: Any = self.gateway.factory
        if self._certificate is not None:
            factory = self._certificate.wrap(factory, reactor)
        self._bus.link.on_ready.append(changed)
        self._bus.link.on_lost.append(lambda _: changed())
        self._listing.start()
        self._bus.startService()
        self.gateway.startService()
        if self._overview is not None:
            self._overview.start()
        self._ports: list[Any] = []
        # Leave clients in the accept queue for a short time rather than answer 503.
        ready = self._bus.connected().addTimeout(READY_WITHIN, reactor)
        self.listening = ready.addBoth(lambda _: self._accept(descriptors, factory))

    def _accept(self, descriptors: range, factory: Any) -> None:
        if not self._is_stopping:
            self._ports = [accept(self._reactor, number, factory) for number in descriptors]

    def report(self) -> tuple[bool, Mapping[str, Any]]:
        """Return the readiness for logins, and the state for the admin endpoint."""
        state = {} if self._overview is None else self._overview.latest()
        return self._bus.link.is_ready, state

    def metrics(self) -> Any:
        """Return the metrics as JSON values."""
        if self._overview is None:
            return []
        from opentera_twisted.program.workers.overview import as_json  # noqa: PLC0415 (an extra)

        return as_json(self._overview.families())

    def reload(self) -> None:
        """Read the certificate again."""
        read_again(self._certificate)

    async def stop(self) -> None:
        """Stop listening, close clients, and close the link, within the shutdown timeout."""
        stopped = Deferred.fromCoroutine(self._stop())
        timeout = self.gateway.limits.shutdown_timeout
        if timeout:
            stopped.addTimeout(timeout, self._reactor)
        try:
            await stopped
        except DeferredTimeout:
            self._log.error("Redis did not answer in time; stopping anyway")

    async def _stop(self) -> None:
        if self._overview is not None:
            self._overview.stop()
        self._is_stopping = True
        for port in self._ports:
            port.stopListening()
        await self.gateway.stopService()
        await self._listing.stop()  # it waits for Redis, and clients must not
        await self._bus.stopService()
        if self._spans is not None:
            await self._spans.stop()
