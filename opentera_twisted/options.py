"""The options of ``twistd opentera-bus``, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeVar

from attrs import fields_dict
from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from opentera_twisted.errors import InvalidArgument, InvalidTopic
from opentera_twisted.gateway import DefaultPolicy, GatewayLimits
from opentera_twisted.gateway.compression import MAX_WINDOW_BITS, MIN_WINDOW_BITS
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.proxies import TrustedProxies
from opentera_twisted.gateway.tls import Certificate
from opentera_twisted.link import RedisAddress
from opentera_twisted.topics import rpc_of

T = TypeVar("T")

REDIS_HOST: Final = "127.0.0.1"
REDIS_PORT: Final = 6379
"""Where an embedded server listens: where other programs look first."""

BACKLOG: Final = 4096
"""Connections that may wait to be accepted, as far as the system allows."""

DEFAULT_WEBSOCKET: Final = "tcp:40085:interface=127.0.0.1"
DEFAULT_ADMIN: Final = "tcp:40086:interface=127.0.0.1"

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


def _default(name: str) -> float:
    default: Any = fields_dict(GatewayLimits)[name.replace("-", "_")].default
    return default  # type: ignore[no-any-return]


def _count(text: str) -> int:
    """A whole number from 0 on."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{text!r} is not a whole number from 0 on")
    return number


def _seconds(text: str) -> float:
    """Seconds from 0 on."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{text!r} is not a number of seconds from 0 on")
    return number


def _choice(*allowed: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return choose


_LIMITS: Final[Mapping[str, tuple[Callable[[str], float], str]]] = {
    "max-clients": (_count, "Websockets at a time; more are answered 503."),
    "max-clients-per-identity": (
        _count,
        "Websockets of one user, participant or device; more are answered 429.",
    ),
    "handshake-timeout": (_seconds, "Seconds from connecting to open."),
    "max-message-size": (_count, "Bytes of a client's message; a larger one is closed with 1009."),
    "max-send-buffer": (
        _count,
        "Bytes that may wait for a client that does not read; then it is closed with 1008.",
    ),
    "failed-logins-per-minute": (_count, "Of one address; then it is answered 429."),
    "shutdown-timeout": (_seconds, "Seconds that ending may take, with all clients reported."),
}


class Options(usage.Options):
    """The options of ``twistd opentera-bus``.

    Attributes:
        limits: of the gateway.
        policy: of who sees which broadcast event.
        certificate: of the websocket endpoints, or None.
    """

    synopsis = "[options]"
    longdesc = (
        "Lets browsers and devices log in to websockets with one-time session keys, and hands them "
        "their events from Redis. Without options it runs on the Redis of this machine, or on one "
        "of its own when there is none. Of a limit, 0 means none."
    )
    optParameters = (
        ("redis", "r", "auto", _REDIS_HELP),
        ("admin", "a", DEFAULT_ADMIN, "Endpoint of health and metrics; 'none' for none."),
        ("name", "n", "opentera-bus", "Name in Redis's list of clients."),
        (
            "certificate",
            None,
            None,
            "PEM file: websockets speak TLS with this certificate; read again on SIGHUP.",
        ),
        ("private-key", None, None, "PEM file of the certificate's private key."),
        (
            "identity-rpc",
            None,
            None,
            "service.KEY whose identify(kind, uuid) says who a client is, or null to refuse it.",
        ),
        (
            "on-gap",
            None,
            "keep",
            "Open websockets when events may have been missed: keep them, or close with 1012.",
            _choice("keep", "close"),
        ),
        (
            "compression",
            None,
            0,
            "Window of permessage-deflate as its logarithm, 9 to 15; 0: no compression.",
            _count,
        ),
        *((name, None, _default(name), text, check) for name, (check, text) in _LIMITS.items()),
    )
    optFlags = (
        (
            "require-bound-keys",
            None,
            "Refuse session keys of deployed servers, which are guessable and of any kind.",
        ),
        (
            "user-manager",
            None,
            "Serve TeraServer.UserManagerModule too, for use without an OpenTera server.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        for option in ("websocket", "origin", "trusted-proxy", "broadcast"):
            self[option] = []

    def opt_websocket(self, endpoint: str) -> None:
        """Endpoint of websockets, by default tcp:40085:interface=127.0.0.1; repeatable."""
        self["websocket"].append(endpoint)

    opt_w = opt_websocket

    def opt_origin(self, origin: str) -> None:
        """Origin whose pages may log in, such as https://rehab.example.org; repeatable.

        https://*.example.org stands for all below, * for any, which is the default.
        """
        self["origin"].append(origin)

    def opt_trusted_proxy(self, address: str) -> None:
        """Address or network whose X-Forwarded-For and -Proto are believed; repeatable.

        unix stands for who comes through a Unix socket.
        """
        self["trusted-proxy"].append(address)

    def opt_broadcast(self, text: str) -> None:
        """KIND:TOPIC opens a topic of events to all clients of a kind; repeatable."""
        self["broadcast"].append(text)

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
        self._check("redis", parse_redis)
        self._check("origin", Origins)
        self._check("trusted-proxy", TrustedProxies)
        self.policy = self._check("broadcast", DefaultPolicy)
        if self["identity-rpc"] is not None:
            self._check("identity-rpc", rpc_of)
        bits = self["compression"]
        if bits and not MIN_WINDOW_BITS <= bits <= MAX_WINDOW_BITS:
            raise usage.UsageError(
                f"--compression: {bits} is not 0 or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}"
            )
        self.limits = GatewayLimits(**{name.replace("-", "_"): self[name] for name in _LIMITS})
        self.certificate = self._certificate()

    def _certificate(self) -> Certificate | None:
        if self["certificate"] is None and self["private-key"] is None:
            return None
        if self["certificate"] is None or self["private-key"] is None:
            raise usage.UsageError("--certificate and --private-key need each other")
        for endpoint in self["websocket"]:
            if endpoint.startswith("ssl:"):
                raise usage.UsageError(
                    f"--websocket: {endpoint!r} has a certificate of its own; "
                    "with --certificate it is a tcp: endpoint"
                )
        return self._check("certificate", lambda file: Certificate(file, self["private-key"]))

    def _check(self, option: str, parse: Callable[[Any], T]) -> T:
        try:
            return parse(self[option])
        except (InvalidArgument, InvalidTopic) as error:
            raise usage.UsageError(f"--{option}: {error}") from None


def with_backlog(endpoint: str) -> str:
    """An endpoint whose socket lets a storm of clients wait; Twisted's 50 would lose some."""
    kind = endpoint.partition(":")[0]
    if kind not in {"tcp", "tcp6", "ssl", "unix"} or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    if endpoint.startswith("unix:"):
        return True
    found = re.search(r":interface=((?:[^:\\]|\\.)*)", endpoint)
    try:
        return found is not None and ip_address(found[1].replace("\\", "")).is_loopback
    except ValueError:
        return False


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
