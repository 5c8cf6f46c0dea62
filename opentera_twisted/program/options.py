"""The options of ``twistd opentera-bus``, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, Final, TypeVar

from attrs import evolve
from twisted.python import usage

from opentera_twisted.errors import InvalidArgument, InvalidTopic
from opentera_twisted.gateway import DefaultPolicy
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.recovery import RECOVERY_BUFFER, RECOVERY_WINDOW
from opentera_twisted.gateway.tls import Certificate
from opentera_twisted.gateway.trusted_proxies import TrustedProxies
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.secret_file import SecretText, mask_passwords, read_secret, with_password
from opentera_twisted.program.admin_options import check_host, read_token
from opentera_twisted.program.configuration import Configuration
from opentera_twisted.program.gateway_options import LIMITS, default_of, gateway_settings
from opentera_twisted.program.log import has_own_format
from opentera_twisted.program.option_values import (
    DEFAULT_WEBSOCKET,
    check_endpoint,
    check_shareable,
    choice,
    count,
    is_loopback,
    positive,
    seconds,
    window,
)
from opentera_twisted.program.settings import AdminSettings, RedisSettings, Settings
from opentera_twisted.topics import rpc_of

T = TypeVar("T")

REDIS_HOST: Final = "127.0.0.1"
REDIS_PORT: Final = 6379
"""Address of an embedded server: Redis's default, which other programs try first."""

DEFAULT_ADMIN: Final = "tcp:40086:interface=127.0.0.1"

_REDIS_HELP: Final = (
    "Address of Redis: redis://[[user]:password@]host[:port][/database], rediss:// with TLS, "
    "unix:///path?db=n, redis+sentinel://host:port,host:port/primary/database or "
    "redis+cluster://host:port,host:port. "
    "embedded:DIR runs a server on 127.0.0.1:6379 with its data in DIR. "
    "auto uses a server at that address, or runs one in memory."
)


class StartFailed(SystemExit, Exception):
    """Ends the program with status 1 and a line on standard error for each mistake.

    It is also an ``Exception``: only then does twistd report the error to the shell that starts a
    daemon, and remove the pidfile.

    Args:
        reason: text for people, a line for each mistake.
    """

    def __init__(self, reason: object) -> None:
        self.mistakes = str(reason).splitlines()
        super().__init__("\n".join(f"twistd opentera-bus: {line}" for line in self.mistakes))
        # twistd shows the last line of the traceback in that shell, up to its 98th byte.
        self.add_note(str(reason))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ("\n".join(self.mistakes),), vars(self)


_CHECKS: Final[Mapping[str, Callable[[str], Any]]] = {
    "console": choice("read", "write", "off"),
    "on-gap": choice("keep", "close"),
    "log-format": choice("text", "json"),
    "log-level": choice("debug", "info", "warn", "error"),
    "compression": window,
    "workers": positive,
    "presence-grace": seconds,
    "recovery-window": seconds,
    "recovery-buffer": count,
    **{name: check for name, (check, _) in LIMITS.items()},
}
"""Parsers of the options that are not plain text."""

NUMBERS: Final = frozenset(
    {"workers", "compression", "presence-grace", "recovery-window", "recovery-buffer", *LIMITS}
)
"""Options whose values are numbers, also in a file."""

REPEATABLE: Final = ("websocket", "origin", "trusted-proxy", "broadcast", "admin-host")
"""Options that may be repeated; lists in a file."""


class Options(usage.Options):
    """The options of ``twistd opentera-bus``: command line first, then file, then defaults.

    All options are checked before anything starts, and all mistakes are reported at once.

    Attributes:
        certificate: certificate of the websocket endpoints, or None.
        password: Redis password from its file, or None.
        sources: source of each option's value: ``--name``, ``FILE:LINE`` or ``default``.
        hints: warnings for the operator.
        admin_token: required token of admin requests, or None.
    """

    synopsis = "[options]"
    longdesc = (
        "Serves websockets: browsers and devices log in with one-time session keys and receive "
        "their events from Redis. Without options it uses the Redis of this machine, or runs one "
        "if there is none. A limit of 0 means no limit."
    )
    optParameters = (
        ("config", "c", None, "TOML file with these options; the command line overrides it."),
        ("redis", "r", "auto", _REDIS_HELP),
        (
            "redis-password-file",
            None,
            None,
            "File with the Redis password, to keep it out of the process list.",
        ),
        (
            "admin",
            "a",
            DEFAULT_ADMIN,
            "Endpoint of health, metrics and the console page; 'none' disables it.",
        ),
        (
            "admin-token-file",
            None,
            None,
            "File with the token for admin requests; required beyond loopback.",
        ),
        (
            "console",
            None,
            "read",
            (
                "Mode of the console page: read only shows, write also calls and issues keys, off "
                "removes it."
            ),
        ),
        ("name", "n", "opentera-bus", "Name of the connections in Redis's list of clients."),
        (
            "log-format",
            None,
            "text",
            "Format of twistd's log: text, or json with one object per line.",
        ),
        (
            "log-level",
            None,
            "info",
            "Lowest level of twistd's log: debug, info, warn or error.",
        ),
        (
            "audit-log",
            None,
            "none",
            (
                "File of the audit log: logins, refusals, disconnects, kicks and use of the "
                "console; stderr writes it there, none disables it."
            ),
        ),
        (
            "certificate",
            None,
            None,
            "PEM file with the TLS certificate of the websockets; SIGHUP reloads it.",
        ),
        ("private-key", None, None, "PEM file with the certificate's private key."),
        (
            "identity-rpc",
            None,
            None,
            (
                "service.KEY whose identify(kind, uuid) returns a client's identity, or null to "
                "refuse it."
            ),
        ),
        (
            "access-rpc",
            None,
            None,
            "service.KEY whose may_see(kind, uuid) lists the UUIDs whose events a client receives.",
        ),
        (
            "on-gap",
            None,
            "keep",
            "Action on open websockets after a gap: keep them, or close them with 1012.",
        ),
        (
            "compression",
            None,
            0,
            (
                "Window of permessage-deflate, as its binary logarithm from 9 to 15; 0 disables "
                "compression."
            ),
        ),
        (
            "workers",
            None,
            1,
            "Number of processes that share the websockets; one that dies is replaced.",
        ),
        (
            "presence-grace",
            None,
            0,
            "Seconds that a DISCONNECTED waits, so that others do not see a short break.",
        ),
        (
            "recovery-window",
            None,
            RECOVERY_WINDOW,
            (
                "Seconds after a disconnect in which a client can recover missed events; "
                "0 disables recovery."
            ),
        ),
        (
            "recovery-buffer",
            None,
            RECOVERY_BUFFER,
            "Bytes of missed events kept for each disconnected client.",
        ),
        *((name, None, default_of(name), text) for name, (_, text) in LIMITS.items()),
    )
    optFlags = (
        (
            "require-bound-keys",
            None,
            (
                "Refuse session keys of existing OpenTera servers, which are guessable and "
                "valid for any kind."
            ),
        ),
        (
            "user-manager",
            None,
            "Serve TeraServer.UserManagerModule, for use without an OpenTera server.",
        ),
        (
            "tracing",
            None,
            (
                "Send traces to an OpenTelemetry collector, at OTEL_EXPORTER_OTLP_ENDPOINT or "
                "http://localhost:4318."
            ),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._defaults: dict[str, Any] = {**self, **{name: [] for name in REPEATABLE}}
        self.clear()  # after parsing, only given options remain
        self.sources: dict[str, str] = dict.fromkeys(self._defaults, "default")
        self.hints: list[str] = []
        self.certificate: Certificate | None = None
        self.password: SecretText | None = None
        self.admin_token: str | None = None
        self._file: Configuration | None = None
        self._mistakes: list[tuple[int, str]] = []

    def opt_websocket(self, endpoint: str) -> None:
        """Endpoint of the websockets, by default tcp:40085:interface=127.0.0.1; repeatable."""
        self.setdefault("websocket", []).append(endpoint)

    opt_w = opt_websocket

    def opt_origin(self, origin: str) -> None:
        """Origin whose pages may log in, such as https://rehab.example.org; repeatable.

        Any scheme works, such as capacitor://localhost. https://*.example.org means all
        subdomains, null means pages without an origin, * means any, which is the default.
        """
        self.setdefault("origin", []).append(origin)

    def opt_trusted_proxy(self, address: str) -> None:
        """Address or network of a proxy whose X-Forwarded-For and -Proto are trusted; repeatable.

        unix means connections through a Unix socket.
        """
        self.setdefault("trusted-proxy", []).append(address)

    def opt_broadcast(self, text: str) -> None:
        """Topic of events for all clients of a kind, as KIND:TOPIC; repeatable."""
        self.setdefault("broadcast", []).append(text)

    def opt_admin_host(self, host: str) -> None:
        """Host name of the admin endpoint, in addition to localhost; repeatable."""
        self.setdefault("admin-host", []).append(host)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(version("opentera-twisted"))  # noqa: T201
        raise SystemExit(0)

    def parseOptions(self, options: Any = None) -> None:
        """Parse and check the options; end the program with a line for each mistake."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise StartFailed(error) from None

    def parseArgs(self, *arguments: str) -> None:
        """Reject positional arguments."""
        if arguments:
            raise usage.UsageError(f"unexpected argument: {' '.join(arguments)}")

    def postOptions(self) -> None:
        """Add the file's options and the defaults, and check all."""
        given = dict(self)
        self.update(self._defaults)
        self._read_file(given)
        self.update(given)
        self.sources.update({name: f"--{name}" for name in given})
        for name, check in _CHECKS.items():
            self[name] = self._check(name, _of_text(check))
        self["websocket"] = self["websocket"] or [DEFAULT_WEBSOCKET]
        self._check_each("websocket", check_endpoint)
        if (self["workers"] or 1) > 1:
            self._check_each("websocket", check_shareable)
        self._check_admin()
        self._check_redis()
        self._check_each("origin", lambda text: Origins([text]))
        self._check_each("trusted-proxy", lambda text: TrustedProxies([text]))
        self._check_each("broadcast", lambda text: DefaultPolicy([text]))
        for name in ("identity-rpc", "access-rpc"):
            if self[name] is not None:
                self._check(name, rpc_of)
        if self["log-format"] == "json" and has_own_format(self.parent or {}):
            self._mistaken(
                "log-format", "json cannot be combined with twistd's --logger or --syslog"
            )
        if self["audit-log"] == "stderr" and not self._has_stderr():
            self._mistaken("audit-log", "a daemon has no standard error; name a file")
        self._check_certificate()
        if self._mistakes:
            raise usage.UsageError("\n".join(text for _, text in sorted(self._mistakes)))

    def settings(self) -> Settings:
        """Return the settings from the checked options."""
        redis = parse_redis(self["redis"])
        if self.password is not None:
            redis = evolve(redis, url=with_password(redis.url, self.password.text))
        admin = AdminSettings(
            endpoint=self["admin"],
            token=self.admin_token,
            hosts=tuple(self["admin-host"]),
            console=self["console"],
            is_default=self["admin"] == DEFAULT_ADMIN,
        )
        return Settings(
            redis=redis,
            name=self["name"],
            websockets=tuple(self["websocket"]),
            certificate=self.certificate,
            workers=self["workers"],
            gateway=gateway_settings(self),
            admin=None if self["admin"] == "none" else admin,
            serves_user_manager=bool(self["user-manager"]),
            log_format=self["log-format"],
            log_level=self["log-level"],
            audit_log=None if self["audit-log"] == "none" else self["audit-log"],
            tracing=bool(self["tracing"]),
            hints=tuple(self.hints),
        )

    def shown(self) -> Iterator[tuple[str, Any, str]]:
        """Yield each option's name, value and source, with passwords masked."""
        for name in sorted(self._defaults):
            if name != "config":
                value = mask_passwords(self[name]) if name == "redis" else self[name]
                yield name, bool(value) if name in self._flags() else value, self.sources[name]

    def _flags(self) -> set[str]:
        return {name for name, *_ in self.optFlags}

    def _read_file(self, given: Mapping[str, Any]) -> None:
        if given.get("config") is None:
            return
        try:
            self._file = Configuration.read(given["config"])
        except InvalidArgument as error:
            self._mistakes.append((0, str(error)))
            return
        known = sorted(self._defaults.keys() - {"config"})
        for name, value in self._file.settings.items():
            self.sources[name] = f"{self._file.path}:{self._file.line(name)}"
            if name not in known:
                near = get_close_matches(name, known, 1)
                also = f"; did you mean {near[0]}?" if near else ""
                self._mistaken(name, f"unknown option{also}")
            elif name not in given:
                try:
                    self[name] = self._from_toml(name, value)
                except InvalidArgument as error:
                    self._mistaken(name, str(error))

    def _from_toml(self, name: str, value: Any) -> Any:
        if name in self._flags():
            if not isinstance(value, bool):
                raise InvalidArgument("expected true or false")
            return int(value)
        if name in REPEATABLE:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise InvalidArgument('expected a list of strings: ["…", "…"]')
            return value
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InvalidArgument(
                "expected a number" if name in NUMBERS else 'expected a string: "…"'
            )
        return str(value)

    def _has_stderr(self) -> bool:
        return self.parent is None or bool(self.parent["nodaemon"])

    def _check_redis(self) -> None:
        if self["redis-password-file"] is not None:
            self.password = self._check("redis-password-file", read_secret)
            if self.password is not None and self.password.exposure:
                self.hints.append(self.password.exposure)
        parsed = self._check("redis", parse_redis)
        if parsed is None:
            return
        if self.password is not None and parsed.run_server == "embedded":
            self._mistaken("redis-password-file", "the embedded server has no password; omit it")
        elif self.password is not None:
            password = self.password.text
            self._check("redis", lambda _: with_password(parsed.url, password))
        file = self._file
        if file is not None and self.sources["redis"] not in {"--redis", "default"}:
            has_password = mask_passwords(self["redis"]) != self["redis"]
            self.hints.extend([file.exposure] if file.exposure and has_password else [])

    def _check_certificate(self) -> None:
        files = ("certificate", "private-key")
        named = [name for name in files if self[name] is not None]
        if len(named) == 1:
            self._mistaken(named[0], "--certificate and --private-key must be given together")
        if len(named) != len(files):
            return
        for endpoint in self["websocket"]:
            if endpoint.startswith("ssl:"):
                self._mistaken(
                    "websocket",
                    f"{endpoint!r} has its own certificate; use tcp: with --certificate",
                    endpoint,
                )
        self.certificate = self._check(
            "certificate", lambda file: Certificate(file, self["private-key"])
        )

    def _check_admin(self) -> None:
        self._check_each("admin-host", check_host)
        if self["admin"] == "none":
            return
        self._check("admin", check_endpoint)
        if self["admin-token-file"] is not None:
            token = self._check("admin-token-file", read_token)
            if token is not None:
                self.admin_token = token.text
                self.hints.extend([token.exposure] if token.exposure else [])
        elif not is_loopback(self["admin"]):
            self._mistaken(
                "admin",
                f"other machines can reach {self['admin']!r}; protect it with a token in "
                "admin-token-file",
            )

    def _check(self, name: str, parse: Callable[[Any], T]) -> T | None:
        try:
            return parse(self[name])
        except (InvalidArgument, InvalidTopic) as error:
            self._mistaken(name, str(error))
            return None

    def _check_each(self, name: str, parse: Callable[[str], object]) -> None:
        values: Sequence[str] = self[name]
        for value in values:
            try:
                parse(value)
            except (InvalidArgument, InvalidTopic) as error:
                self._mistaken(name, str(error), value)

    def _mistaken(self, name: str, what: str, element: str | None = None) -> None:
        """Record a mistake: ``--name: …``, or ``FILE:LINE: name: …``."""
        source = self.sources[name]
        if self._file is not None and source not in {f"--{name}", "default"}:
            line = self._file.line(name, element)
            self._mistakes.append((line, f"{self._file.path}:{line}: {name}: {what}"))
        else:
            self._mistakes.append((0, f"--{name}: {what}"))


def _of_text(check: Callable[[str], T]) -> Callable[[Any], T]:
    return lambda value: check(str(value))


def parse_redis(value: str) -> RedisSettings:
    """Parse the value of ``--redis``."""
    embedded = RedisSettings(url="", host=REDIS_HOST, port=REDIS_PORT)
    if value == "auto":
        return evolve(embedded, url=embedded.embedded_url, run_server="auto")
    scheme, separator, directory = value.partition(":")
    if scheme == "embedded" and separator:
        if not directory:
            raise InvalidArgument("embedded: needs a directory; expected embedded:DIR")
        return evolve(
            embedded, url=embedded.embedded_url, run_server="embedded", directory=directory
        )
    address = RedisAddress.parse(value)
    address.check_files()
    return evolve(embedded, url=value)
