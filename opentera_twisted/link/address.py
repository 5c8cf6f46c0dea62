"""Redis URLs: address, encryption and credentials of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import evolve, frozen
from twisted.internet.interfaces import IStreamClientEndpoint

from opentera_twisted._internal.default_url import DEFAULT_URL
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link.credentials import NO_CREDENTIALS, TLS, Credentials

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_NETLOC: Final = re.compile(r"([^:/?#]*://)([^/?#]*)(.*)", re.DOTALL)
"""A URL up to its hosts, user and hosts, and the rest. Source: RFC 3986, appendix B."""

_FORMS: Final = (
    "redis://host:port/database, rediss:// with TLS, unix:///path?db=database, "
    "redis+sentinel://host:port,host:port/primary/database "
    "or redis+cluster://host:port,host:port"
)
_TLS_OPTIONS: Final = frozenset({"ca", "certificate", "private_key"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})


@frozen
class RedisAddress:
    """Address and credentials of a Redis server.

    Attributes:
        hosts: name or IP address, and TCP port, of Redis, of each sentinel, or of some nodes of a
            cluster.
        path: path of the Unix socket, instead of hosts.
        primary: name of the primary at the sentinels; empty without sentinels.
        database: number of the database.
        login: user and password for Redis.
        sentinel_login: user and password for the sentinels.
        tls: TLS settings; None without encryption.
        is_cluster: True if the hosts are nodes of a Redis Cluster.
        is_classic: True if the cluster sends messages to all its nodes (``?pubsub=classic``).
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    primary: str = ""
    database: int = 0
    login: Credentials = NO_CREDENTIALS
    sentinel_login: Credentials = NO_CREDENTIALS
    tls: TLS | None = None
    is_cluster: bool = False
    is_classic: bool = False

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Read a URL.

        * ``redis://[[user]:password@]host[:port][/database]``
        * ``rediss://`` for the same with TLS; options ``?ca=FILE``, ``certificate=FILE`` and
          ``private_key=FILE`` (PEM)
        * ``unix://[[user]:password@]/path[?db=database]``
        * ``redis+sentinel://[[user]:password@]host[:port],…/primary[/database]``, or
          ``rediss+sentinel://``; options ``?sentinel_username=…&sentinel_password=…``
        * ``redis+cluster://[[user]:password@]host[:port],…``, or ``rediss+cluster://``; option
          ``?pubsub=sharded``, which is the default, or ``?pubsub=classic``, which allows patterns

        Raises:
            InvalidArgument: the URL is invalid; the message says why, without passwords.
        """
        parts = _split(url)
        scheme, _, via = parts.scheme.partition("+")
        known = {"db"}
        known |= _TLS_OPTIONS if scheme == "rediss" else set()
        known |= _SENTINEL_OPTIONS if via == "sentinel" else set()
        known |= {"pubsub"} if via == "cluster" else set()
        if "@" in parts.path + parts.fragment or ("@" in parts.query and "@" not in parts.netloc):
            raise InvalidArgument(
                "in a user or password of a URL, write / ? # and @ as %2F %3F %23 %40"
            )
        if parts.fragment:
            raise InvalidArgument("a Redis URL has no part after #; write # as %23")
        # In URLs, + is a space only in forms.
        options = dict(parse_qsl(parts.query.replace("+", "%2B")))
        if not known.issuperset(options):
            raise InvalidArgument(
                f"unknown in a {parts.scheme}:// URL: {', '.join(sorted(options.keys() - known))}; "
                f"known: {', '.join(sorted(known))}"
            )
        userinfo, _, netloc = parts.netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        login = Credentials(unquote(user) or None, unquote(password) or None)
        if scheme == "unix":
            if via or netloc or not parts.path.startswith("/") or len(parts.path) == 1:
                raise InvalidArgument(
                    "a unix:// URL needs an absolute path, such as unix:///run/redis.sock?db=0"
                )
            database = _database(options.get("db", "0"))
            return cls(path=unquote(parts.path), database=database, login=login)
        if via == "cluster":
            _check_cluster(parts.path.strip("/") or options.get("db", "0"), options)
            return cls(
                hosts=_hosts(netloc, REDIS_PORT, url, may_be_several=True),
                login=login,
                tls=_tls(options) if scheme == "rediss" else None,
                is_cluster=True,
                is_classic=options.get("pubsub") == "classic",
            )
        path = parts.path.strip("/").split("/")
        primary = unquote(path.pop(0)) if via else ""
        if via and not primary:
            raise InvalidArgument(
                "a redis+sentinel:// URL needs the primary's name: redis+sentinel://host:port/name/0"
            )
        number = options.get("db") or "/".join(path) or "0"
        return cls(
            hosts=_hosts(
                netloc, SENTINEL_PORT if via else REDIS_PORT, url, may_be_several=bool(via)
            ),
            primary=primary,
            database=_database(number),
            login=login,
            sentinel_login=Credentials(
                options.get("sentinel_username"), options.get("sentinel_password")
            ),
            tls=_tls(options) if scheme == "rediss" else None,
        )

    def __str__(self) -> str:
        """Write the URL without credentials and files, for logs."""
        if self.path:
            return f"unix://{self.path}?db={self.database}"
        scheme = "redis" if self.tls is None else "rediss"
        hosts = ",".join(location(host, port) for host, port in self.hosts)
        if self.is_cluster:
            return f"{scheme}+cluster://{hosts}" + "/?pubsub=classic" * self.is_classic
        if self.primary:
            return f"{scheme}+sentinel://{hosts}/{self.primary}/{self.database}"
        return f"{scheme}://{hosts}/{self.database}"

    def check_files(self) -> None:
        """Read the TLS files, to find mistakes before connecting.

        Raises:
            InvalidArgument: a file cannot be used; the message names it.
        """
        if self.tls is not None:
            from opentera_twisted.link.tls import client_options  # noqa: PLC0415 (loads OpenSSL)

            client_options(self.tls, self.hosts[0][0])

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """Make an endpoint that connects to this address.

        Args:
            reactor: reactor to connect with.
            timeout: seconds until an attempt fails.

        Raises:
            InvalidArgument: a TLS file cannot be used.
        """
        # Twisted's endpoints load OpenSSL, which takes a third of the time to import a bus.
        from opentera_twisted.link.endpoints import tcp_endpoint, unix_endpoint  # noqa: PLC0415

        def connecting(host: str, port: int) -> IStreamClientEndpoint:
            endpoint = tcp_endpoint(reactor, host, port, timeout)
            if self.tls is None:
                return endpoint
            from opentera_twisted.link.tls import with_tls  # noqa: PLC0415

            return with_tls(self.tls, host, endpoint)

        if self.path:
            return unix_endpoint(reactor, self.path, timeout)
        if self.primary:
            from opentera_twisted.link.sentinel import SentinelEndpoint  # noqa: PLC0415

            sentinels = {location(*host): connecting(*host) for host in self.hosts}
            return SentinelEndpoint(
                reactor, sentinels, self.primary, self.sentinel_login, connecting
            )
        return connecting(*self.hosts[0])

    @property
    def cluster_url(self) -> str:
        """URL of the cluster to which this server belongs, without credentials and files."""
        hosts = self.hosts if self.hosts and not self.primary else (("HOST", REDIS_PORT),)
        return str(evolve(self, hosts=hosts, path="", is_cluster=True))

    def node(self, host: str, port: int) -> RedisAddress:
        """Return the address of one node of the cluster, with the same credentials."""
        return RedisAddress(hosts=((host, port),), login=self.login, tls=self.tls)


def location(host: str, port: int) -> str:
    """Write a host and a port as URLs do: with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(url: str) -> SplitResult:
    """Split a URL and check its scheme."""
    if not isinstance(url, str):
        # Do not show the value: bytes may contain a password.
        raise InvalidArgument(
            f"expected a URL as a string, such as {DEFAULT_URL}, not {type(url).__name__}"
        )
    # Python 3.14 refuses an IPv6 address behind another host: keep the hosts from it.
    found = _NETLOC.fullmatch(url)
    before, netloc, after = found.groups() if found else (url, "", "")
    try:
        parts = urlsplit(before + after)._replace(netloc=netloc)
    except ValueError:
        raise InvalidArgument(
            f"{_mask(url)} is not a URL of a Redis server: expected {_FORMS}"
        ) from None
    scheme, _, via = parts.scheme.partition("+")
    if scheme not in {"redis", "rediss", "unix"} or via not in {"", "sentinel", "cluster"}:
        raise InvalidArgument(f"{_mask(url)} is not a URL of a Redis server: expected {_FORMS}")
    if scheme != "unix" and not url.partition(":")[2].startswith("//"):
        raise InvalidArgument(
            f"{_mask(url)} lacks the two slashes before the host: expected {_FORMS}"
        )
    return parts


def _hosts(
    netloc: str, default_port: int, url: str, *, may_be_several: bool
) -> tuple[tuple[str, int], ...]:
    hosts = []
    for text in netloc.split(","):
        try:
            parts = urlsplit(f"//{text}")
            port = parts.port or default_port
        except ValueError:
            raise InvalidArgument(
                f"not a host with a port from 1 to 65535 in the URL of a Redis server: {_mask(url)}"
            ) from None
        hosts.append((_host(parts.hostname or "127.0.0.1"), port))
    if len(hosts) > 1 and not may_be_several:
        raise InvalidArgument(
            "several hosts are allowed only in redis+sentinel:// and redis+cluster://: "
            f"{_mask(url)}"
        )
    return tuple(hosts)


def _check_cluster(database: str, options: Mapping[str, str]) -> None:
    if _database(database) != 0:
        raise InvalidArgument(f"a Redis Cluster has only database 0, not {database}")
    pubsub = options.get("pubsub", "sharded")
    if pubsub not in {"sharded", "classic"}:
        raise InvalidArgument(
            f"unknown pubsub in a redis+cluster:// URL: {pubsub!r}; use sharded or classic"
        )


def _host(text: str) -> str:
    """Read a host; the zone of an IPv6 address follows ``%25``, or only ``%``.

    Source: RFC 6874, section 2.
    """
    address, sign, zone = text.partition("%")
    if not sign or ":" not in address:
        return text
    return f"{address}%{zone.removeprefix('25') or zone}"


def _tls(options: Mapping[str, str]) -> TLS:
    tls = TLS(options.get("ca"), options.get("certificate"), options.get("private_key"))
    if tls.private_key is not None and tls.certificate is None:
        raise InvalidArgument("private_key needs certificate in a rediss:// URL")
    return tls


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidArgument(f"the database of a Redis URL must be a number, not {text!r}")
    return int(text)


def _mask(url: str) -> str:
    """Remove user, password and query; more if a password contains ``?``."""
    scheme, separator, rest = url.partition("://")
    before, _, query = (rest if separator else url).partition("?")
    is_ambiguous = "@" in query and "@" not in before
    host = "…" if is_ambiguous else before.rpartition("@")[2]
    return f"{scheme}://{host}" if separator else repr(host)
