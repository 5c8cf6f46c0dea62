"""``twistd opentera-bus``: its options, and the services it runs in their order."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final, Literal

from twisted.application.service import IService, MultiService
from twisted.application.strports import service as listen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError, InvalidArgument
from opentera_twisted.gateway import Gateway
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.embedded import EmbeddedServer

REDIS_HOST: Final = "127.0.0.1"
REDIS_PORT: Final = 6379
"""Where an embedded server listens: where other programs look first."""

DEFAULT_WEBSOCKET: Final = "tcp:40085:interface=127.0.0.1"
DEFAULT_ADMIN: Final = "tcp:40086:interface=127.0.0.1"

PROBE_TIMEOUT: Final = 2.0
"""Seconds that what listens at Redis's address may take to answer."""


_REDIS_HELP: Final = (
    "redis://[[user]:password@]host[:port][/database] or unix:///path?db=n; "
    "embedded:DIR runs a server on 127.0.0.1:6379 with its data in DIR; "
    "auto uses the server there, or runs one in memory."
)


class StartFailed(SystemExit, Exception):
    """Ends the program with one line on standard error and status 1.

    It is an `Exception` too: of nothing else does twistd tell the shell that waits for a daemon,
    and for nothing else does it remove the pidfile.

    Args:
        reason: what was wrong, for people to read.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(f"twistd opentera-bus: {reason}")
        # The end of a traceback is what twistd shows in that shell, up to its 98th byte.
        self.add_note(str(reason))


class Options(usage.Options):
    """The options of ``twistd opentera-bus``."""

    synopsis = "[options]"
    longdesc = (
        "Lets browsers and devices log in to websockets with one-time session keys, and hands them "
        "their events from Redis. Without options it runs on the Redis of this machine, or on one "
        "of its own when there is none."
    )
    optParameters = (
        (
            "redis",
            "r",
            "auto",
            _REDIS_HELP,
        ),
        (
            "admin",
            "a",
            DEFAULT_ADMIN,
            "Endpoint of health, as Twisted writes it; 'none' for none.",
        ),
        ("name", "n", "opentera-bus", "Name in Redis's list of clients."),
    )
    optFlags = (
        (
            "require-bound-keys",
            None,
            "Refuse session keys of deployed servers, which are guessable and of any kind.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self["websocket"] = []

    def opt_websocket(self, endpoint: str) -> None:
        """Endpoint of websockets, by default tcp:40085:interface=127.0.0.1; repeatable."""
        self["websocket"].append(endpoint)

    opt_w = opt_websocket

    def opt_version(self) -> None:
        """Print the version and end."""
        print(version("opentera-twisted"))  # noqa: T201
        raise SystemExit(0)

    def parseOptions(self, options: Any = None) -> None:
        """Parse and check; a mistake ends the program with one line."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise StartFailed(error) from None

    def parseArgs(self, *arguments: str) -> None:
        """Take no arguments but options."""
        if arguments:
            raise usage.UsageError(f"unexpected: {' '.join(arguments)}")

    def postOptions(self) -> None:
        """Check what the values say."""
        from twisted.internet import reactor  # noqa: PLC0415 (twistd has chosen it by now)

        self["websocket"] = self["websocket"] or [DEFAULT_WEBSOCKET]
        endpoints = [("websocket", endpoint) for endpoint in self["websocket"]]
        if self["admin"] != "none":
            endpoints.append(("admin", self["admin"]))
        for option, endpoint in endpoints:
            try:
                serverFromString(reactor, endpoint)
            except (ValueError, TypeError, KeyError, OSError) as error:
                raise usage.UsageError(
                    f"--{option}: {endpoint!r} is not an endpoint such as "
                    f"{DEFAULT_WEBSOCKET}: {error}"
                ) from None
        try:
            parse_redis(self["redis"])
        except InvalidArgument as error:
            raise usage.UsageError(f"--redis: {error}") from None


def parse_redis(value: str) -> tuple[str, Literal["auto", "embedded"] | None, str | None]:
    """What ``--redis`` asks for: the URL, whether a server may or must be run, its directory."""
    url = f"redis://{REDIS_HOST}:{REDIS_PORT}/0"
    if value == "auto":
        return url, "auto", None
    scheme, separator, directory = value.partition(":")
    if scheme == "embedded" and separator:
        if not directory:
            raise InvalidArgument("embedded: needs a directory: embedded:DIR")
        return url, "embedded", directory
    RedisAddress.parse(value)
    return value, None, None


def makeService(options: Options) -> IService:
    """The services that the options ask for."""
    from twisted.internet import reactor  # noqa: PLC0415 (twistd has chosen it by now)

    return Program(options, reactor)


class Program(MultiService):
    """All that ``twistd opentera-bus`` runs, started and stopped in order.

    Args:
        options: as parsed.
        reactor: for all of it.
    """

    _log = Logger()

    def __init__(self, options: Options, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        url, run_server, self._directory = parse_redis(options["redis"])
        # Asked before twistd daemonizes, while the terminal still shows the answer in full.
        self._runs_server = run_server is not None and self._needs_server(run_server)
        self._server: EmbeddedServer | None = None
        self._bus = Bus(url, reactor=reactor, name=options["name"])
        self._gateway = Gateway(self._bus, require_bound_keys=options["require-bound-keys"])
        self._listeners = MultiService()
        for endpoint in options["websocket"]:
            listen(endpoint, self._gateway.factory, reactor=reactor).setServiceParent(
                self._listeners
            )
            self._log.info("websockets on {endpoint}", endpoint=endpoint)
        if options["admin"] != "none":
            self._add_admin(options["admin"])
        # Not the bus: it starts when its Redis is there.
        for child in (self._gateway, self._listeners):
            child.setServiceParent(self)

    def _add_admin(self, endpoint: str) -> None:
        try:
            from opentera_twisted.admin import admin_site  # noqa: PLC0415 (an extra)
        except ImportError:
            message = "the admin endpoint needs: pip install 'opentera-twisted[admin]'"
            if endpoint != DEFAULT_ADMIN:
                raise StartFailed(message) from None
            self._log.warn(message)
            return
        listen(
            endpoint, admin_site(self._bus, self._gateway), reactor=self._reactor
        ).setServiceParent(self._listeners)
        self._log.info("health on {endpoint}", endpoint=endpoint)

    def _needs_server(self, run_server: Literal["auto", "embedded"]) -> bool:
        """Whether a server has to be run, which is not so when ``auto`` finds one."""
        found = probe(REDIS_HOST, REDIS_PORT)
        if found == "redis" and run_server == "auto":
            self._log.info("using the Redis at {host}:{port}", host=REDIS_HOST, port=REDIS_PORT)
            return False
        if found != "nothing":
            what = "a Redis server" if found == "redis" else "something that is not Redis"
            raise StartFailed(
                f"{what} listens on {REDIS_HOST}:{REDIS_PORT} already; "
                "stop it, or name the Redis to use with --redis"
            )
        return True

    def privilegedStartService(self) -> None:
        """Listen; a failure ends the program with one line."""
        try:
            if self._runs_server:
                self._server = EmbeddedServer(
                    self._reactor, port=REDIS_PORT, host=REDIS_HOST, directory=self._directory
                )
            super().privilegedStartService()
        except (BusError, CannotListenError, OSError, OverflowError) as error:
            raise StartFailed(error) from None

    def startService(self) -> None:
        """Start the server, and then what uses it; until it is there, logins are answered 503."""
        super().startService()
        if self._server is None:
            self._bus.startService()
            return
        self._server.startService()
        failed: list[Failure] = []
        ready = self._server.ready()
        ready.addCallbacks(lambda _: self._bus.startService(), failed.append)
        if failed:  # at once: the reactor does not run yet
            raise StartFailed(failed[0].getErrorMessage())
        ready.addCallback(lambda _: self._give_up(failed) if failed else None)

    def stopService(self) -> Deferred[None]:
        """Stop listening, send clients away, close the link, stop the server: in this order."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.running = False
        await self._listeners.stopService()
        await self._gateway.stopService()
        await self._bus.stopService()
        if self._server is not None:
            await self._server.stopService()

    def _give_up(self, failed: Sequence[Failure]) -> None:
        """The server does not start: end the program with a status that says so."""
        if not self.running:  # it is ending anyway
            return
        self._log.critical("{reason}", reason=failed[0].getErrorMessage())
        atexit.register(_exit_failed)  # after twistd has removed its pidfile
        self._reactor.stop()


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)  # twistd itself would report success


def probe(host: str, port: int) -> Literal["redis", "other", "nothing"]:
    """What listens at an address; asked before the reactor runs, so it may wait."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except ConnectionRefusedError:
        return "nothing"
    except OSError:
        return "other"
    # +PONG, or an error such as -NOAUTH or -LOADING
    return "redis" if answer[:1] in {b"+", b"-"} else "other"
