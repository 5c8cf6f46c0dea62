"""`Program`: the services of ``twistd opentera-bus``, in their order."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve
from twisted.application.service import MultiService
from twisted.application.strports import service as listen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from opentera_twisted._internal import garbage
from opentera_twisted._internal.extras import MissingExtra
from opentera_twisted.bus import Bus
from opentera_twisted.embedded.probe import probe
from opentera_twisted.embedded.server import EmbeddedServer
from opentera_twisted.errors import BusError
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.tls import TLSListening, read_again
from opentera_twisted.program.gateway_options import make_gateway
from opentera_twisted.program.gateway_service import GatewayService
from opentera_twisted.program.log import audit_observer, drain, log_observer, lost_by_log
from opentera_twisted.program.open_files import clients_within, raise_limit
from opentera_twisted.program.option_values import is_loopback, with_backlog
from opentera_twisted.program.options import StartFailed
from opentera_twisted.program.redis_checks.info import parse_info
from opentera_twisted.program.redis_checks.server import eviction, memory
from opentera_twisted.program.redis_checks.server import version as server_version
from opentera_twisted.program.settings import AdminSettings, RedisSettings, Settings
from opentera_twisted.program.systemd import Supervisor
from opentera_twisted.program.workers import Pool, WorkerSettings
from opentera_twisted.program.workers.process import Worker

if TYPE_CHECKING:
    from opentera_twisted.program.tracing import SpanExport
    from opentera_twisted.user_manager import UserManager

WORKERS_SHARE: Final = 0.9
"""Workers' share of the shutdown timeout."""


class Program(MultiService):
    """All services of ``twistd opentera-bus``, started and stopped in order."""

    _log = Logger()

    def __init__(
        self, settings: Settings, reactor: Any, twistd: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._reactor = reactor
        self._twistd = twistd
        redis = settings.redis
        self._log.info("opentera-twisted {version} starts", version=version("opentera-twisted"))
        # Check before twistd daemonizes, while the terminal still shows errors in full.
        self._runs_server = self._needs_server(redis)
        url = redis.embedded_url if self._runs_server else redis.url
        self._server: EmbeddedServer | None = None
        self._spans = _span_export(reactor, settings) if settings.tracing else None
        self._bus = Bus(url, reactor=reactor, name=settings.name, tracing=settings.tracing)
        self._supervisor = Supervisor(self._bus.link)
        self._bus.link.on_ready.append(self._ready)
        self._shutdown_timeout = settings.gateway.limits.shutdown_timeout
        self._listeners = MultiService()
        self._listing: GatewayService | None = None
        self._serving: Gateway | Pool
        if settings.workers == 1:
            self._serving = self._serve_here()
        else:
            self._serving = self._serve_with_workers(url)
        for endpoint in settings.websockets:
            self._log.info("websockets on {endpoint}", endpoint=endpoint)
        origins = Origins(settings.gateway.origin)
        if origins.any and not all(map(is_loopback, settings.websockets)):
            self._log.warn("pages of any origin may log in; list the allowed ones with --origin")
        if origins.null and not origins.any:
            self._log.warn(
                "--origin null accepts sandboxed frames of any site, and local files; "
                "give the pages their own origin, such as app://localhost"
            )
        for hint in settings.hints:
            self._log.warn("{hint}", hint=hint)
        if settings.admin is not None:
            self._add_admin(settings.admin)
        # The bus is no child: it starts when its Redis is available.
        self._user_manager = self._make_user_manager() if settings.serves_user_manager else None
        for child in filter(None, (self._user_manager, self._serving, self._listeners)):
            child.setServiceParent(self)

    def _make_user_manager(self) -> UserManager:
        from opentera_twisted.user_manager import UserManager  # noqa: PLC0415 (few gateways have it)

        return UserManager(self._bus)

    def _serve_here(self) -> Gateway:
        """Serve with a gateway in this process."""
        settings = self._settings
        gateway = make_gateway(self._bus, settings.gateway)
        self._listing = GatewayService(self._bus, gateway, settings.name)
        factory: IProtocolFactory = gateway.factory
        if settings.certificate is not None:
            factory = settings.certificate.wrap(factory, self._reactor)
        reactor: Any = TLSListening(self._reactor)
        for endpoint in settings.websockets:
            service = listen(with_backlog(endpoint), factory, reactor=reactor)
            service.setServiceParent(self._listeners)
        return gateway

    def _serve_with_workers(self, url: str) -> Pool:
        """Serve with gateways in worker processes, which share the sockets."""
        settings = self._settings
        limits = settings.gateway.limits
        # Workers must finish before this process kills them.
        limits = evolve(limits, shutdown_timeout=limits.shutdown_timeout * WORKERS_SHARE)
        pool = Pool(
            self._reactor,
            settings.workers,
            [with_backlog(endpoint) for endpoint in settings.websockets],
            WorkerSettings(
                redis=url,
                name=settings.name,
                gateway=evolve(settings.gateway, limits=limits).as_json(),
                certificate=None if settings.certificate is None else settings.certificate.files,
                tracing=settings.tracing,
            ),
            self._give_up,
        )
        pool.on_died.append(self._report_gone)
        self._supervisor.wait_for(pool.missing)
        pool.on_changed.append(self._supervisor.changed)
        return pool

    def _report_gone(self, worker: Worker) -> None:
        """Report a dead worker's clients now; other gateways notice only when its lease expires."""
        if worker.lease is not None:
            reported = self._bus.presence.report_gone(worker.lease)
            reported.addErrback(lambda failure: failure.trap(BusError))

    def setServiceParent(self, parent: Any) -> None:
        """Attach to twistd, and install the log observer."""
        if isinstance(parent, Componentized) and self._twistd is not None:
            settings = self._settings
            observer = log_observer(
                self._twistd, settings.log_format, settings.log_level, self._reactor
            )
            if settings.audit_log is not None:
                self._write_audit(settings.audit_log, settings.log_format)
            if observer is not None:
                parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)

    def _write_audit(self, destination: str, log_format: str) -> None:
        try:
            observer = audit_observer(destination, log_format, self._reactor)
            globalLogPublisher.addObserver(observer)
        except OSError as error:
            raise StartFailed(
                f"--audit-log: cannot write {destination!r}: {error.strerror}"
            ) from None

    def _add_admin(self, settings: AdminSettings) -> None:
        try:
            from opentera_twisted.admin import (  # noqa: PLC0415 (an extra)
                LocalOverview,
                Overview,
                Websockets,
                admin_site,
            )
        except MissingExtra as error:
            message = f"no admin endpoint: {error}"
            if not settings.is_default:
                raise StartFailed(message) from None
            self._log.warn(message)
            return
        websockets = [
            Websockets.of(endpoint, certificate=self._settings.certificate is not None)
            for endpoint in self._settings.websockets
        ]
        overview: Overview
        if isinstance(self._serving, Pool):
            from opentera_twisted.program.workers.overview import AllWorkers  # noqa: PLC0415 (an extra)

            overview = AllWorkers(self._bus, self._serving)
        else:
            overview = LocalOverview(self._bus, self._serving, lost_lines=lost_by_log)
        site = admin_site(
            self._bus,
            overview,
            token=settings.token,
            hosts=settings.hosts,
            console=settings.console,
            audits=self._settings.audit_log is not None,
            websockets=[address for address in websockets if address is not None],
        )
        reactor: Any = TLSListening(self._reactor)
        listen(settings.endpoint, site, reactor=reactor).setServiceParent(self._listeners)
        what = "health" if settings.console == "off" else "health and console"
        self._log.info("{what} on {endpoint}", what=what, endpoint=settings.endpoint)

    def _needs_server(self, redis: RedisSettings) -> bool:
        """Return True if the program must run a server: ``auto`` runs none if it finds one."""
        if redis.run_server is None:
            return False
        found = probe(redis.host, redis.port)
        if found == "redis" and redis.run_server == "auto":
            self._log.info("using the Redis at {host}:{port}", host=redis.host, port=redis.port)
            return False
        if found != "nothing":
            what = "a Redis server" if found == "redis" else "a program other than Redis"
            raise StartFailed(
                f"{what} already listens on {redis.host}:{redis.port}; "
                "stop it, or pass the Redis to use with --redis"
            )
        return True

    def privilegedStartService(self) -> None:
        """Listen; on failure, end the program with one line."""
        try:
            if self._runs_server:
                redis = self._settings.redis
                self._server = EmbeddedServer(
                    self._reactor, port=redis.port, host=redis.host, directory=redis.directory
                )
            self._allow_files()
            super().privilegedStartService()
        except (BusError, CannotListenError, OSError, OverflowError) as error:
            raise StartFailed(error) from None

    def _allow_files(self) -> None:
        """Raise the limit of open files before workers inherit it, and log how many clients fit."""
        files = raise_limit()
        clients, wanted = clients_within(files), self._settings.gateway.limits.max_clients
        text = "limit of {files} open files: enough for {clients} clients"
        if clients < wanted:
            self._log.warn(
                text + ", fewer than --max-clients {wanted}; raise ulimit -n, or LimitNOFILE=",
                files=files,
                clients=clients,
                wanted=wanted,
            )
        else:
            self._log.info(text, files=files, clients=clients)

    def startService(self) -> None:
        """Start the server, and then the bus; until the bus is ready, logins get 503."""
        super().startService()
        if self._spans is not None:
            self._spans.start()
        garbage.collect_briefly()
        if self._listing is not None:
            self._listing.start()
        self._supervisor.start()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._hung_up)
        if self._user_manager is not None:
            serving = self._user_manager.serving()
            serving.addErrback(lambda failure: self._give_up(failure.getErrorMessage()))
        if self._server is None:
            self._bus.startService()
            return
        self._server.startService()
        failed: list[Failure] = []
        ready = self._server.ready()
        ready.addCallbacks(lambda _: self._bus.startService(), failed.append)
        if failed:  # already known, before the reactor runs
            raise StartFailed(failed[0].getErrorMessage())
        ready.addCallback(lambda _: self._give_up(failed[0].getErrorMessage()) if failed else None)

    def _ready(self) -> None:
        Deferred.fromCoroutine(self._check_redis()).addErrback(
            lambda failure: failure.trap(BusError)
        )

    async def _check_redis(self) -> None:
        """Warn of a Redis that may lose data; ``opentera-bus doctor`` checks more."""
        info = parse_info(await self._bus.link.execute("INFO", "everything"))
        for finding in (server_version(info), eviction(info), memory(info)):
            if finding.verdict != "ok":
                self._log.warn(
                    "Redis: {reason}; {remedy}", reason=finding.reason, remedy=finding.remedy
                )

    def stopService(self) -> Deferred[None]:
        """Stop listening, close clients, close the link, and stop the server, in this order."""
        stopped = Deferred.fromCoroutine(self._stop())
        if self._shutdown_timeout:
            stopped.addTimeout(self._shutdown_timeout, self._reactor)
            stopped.addErrback(self._stopped_late)
        return stopped

    def _stopped_late(self, failure: Failure) -> None:
        failure.trap(DeferredTimeout)
        if isinstance(self._serving, Pool) and self._serving.workers:
            self._log.error("workers did not stop in time; killing them")
            self._serving.kill()
        else:
            self._log.error("Redis did not answer in time; stopping anyway")

    async def _stop(self) -> None:
        self.running = False
        self._supervisor.stop()
        await self._listeners.stopService()
        await self._serving.stopService()
        if self._listing is not None:  # it waits for Redis, and clients must not
            await self._listing.stop()
        if self._user_manager is not None:
            await self._user_manager.stopService()
        await self._bus.stopService()
        if self._spans is not None:
            await self._spans.stop()
        if self._server is not None:
            await self._server.stopService()

    def _hung_up(self, *_: object) -> None:
        self._reactor.callFromThread(self._reload_certificate)

    def _reload_certificate(self) -> None:
        certificate = self._settings.certificate
        if isinstance(self._serving, Pool) and certificate is not None:
            self._serving.reload()
        else:
            read_again(certificate)

    def _give_up(self, reason: str) -> None:
        """End the program with status 1: it cannot serve."""
        if not self.running:  # already stopping
            return
        self._log.critical("{reason}", reason=reason)
        atexit.register(_exit_failed)  # after twistd has removed its pidfile
        self._reactor.stop()


def _span_export(reactor: Any, settings: Settings) -> SpanExport:
    try:
        from opentera_twisted.program.tracing import SpanExport  # noqa: PLC0415 (an extra)
    except MissingExtra as error:
        raise StartFailed(f"--tracing: {error}") from None
    return SpanExport(reactor, settings.name)


def _exit_failed() -> None:
    drain()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)  # twistd itself would report success
