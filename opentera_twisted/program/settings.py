"""Settings of the program: the checked options, one object for each package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from attrs import asdict, field, frozen

from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.recovery import RECOVERY_BUFFER, RECOVERY_WINDOW
from opentera_twisted.gateway.tls import Certificate


@frozen(kw_only=True)
class RedisSettings:
    """The Redis server to use or run.

    Attributes:
        url: URL with the password.
        run_server: ``auto`` to run a server if none is found, ``embedded`` to run one, or None.
        directory: directory of the embedded server's data; None keeps the data in memory.
        host: address of the embedded server.
        port: port of the embedded server.
    """

    url: str = field(repr=False)
    run_server: Literal["auto", "embedded"] | None = None
    directory: str | None = None
    host: str
    port: int

    @property
    def embedded_url(self) -> str:
        """URL of the embedded server, which has no password."""
        return f"redis://{self.host}:{self.port}/0"


@frozen(kw_only=True)
class GatewaySettings:
    """Arguments of the gateway in this process, or in each worker; none is secret."""

    limits: GatewayLimits
    require_bound_keys: bool = False
    identity_rpc: str | None = None
    access_rpc: str | None = None
    broadcast: Sequence[str] = ()
    origin: Sequence[str] = ()
    trusted_proxy: Sequence[str] = ()
    on_gap: Literal["keep", "close"] = "keep"
    compression: int = 0
    presence_grace: float = 0.0
    recovery_window: float = RECOVERY_WINDOW
    recovery_buffer: int = RECOVERY_BUFFER
    audit: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object, for a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read the object returned by `as_json`."""
        return cls(**{**fields, "limits": GatewayLimits(**fields["limits"])})


@frozen(kw_only=True)
class AdminSettings:
    """Arguments of the admin endpoint.

    Attributes:
        endpoint: endpoint string.
        token: required token of requests, or None.
        hosts: accepted host names.
        console: permissions of the console page.
        is_default: True if no option names the endpoint, which may then be missing.
    """

    endpoint: str
    token: str | None = field(default=None, repr=False)
    hosts: Sequence[str] = ()
    console: Literal["read", "write", "off"] = "read"
    is_default: bool = False


@frozen(kw_only=True)
class Settings:
    """All settings of ``twistd opentera-bus``.

    Attributes:
        redis: the Redis to use, or to run.
        name: name in Redis's list of clients.
        websockets: endpoint strings.
        certificate: certificate of the websocket endpoints, or None.
        workers: number of processes that share the websockets.
        gateway: settings of each gateway.
        admin: settings of the admin endpoint, or None.
        serves_user_manager: True runs the user manager module too.
        log_format: format of twistd's log.
        log_level: lowest level of twistd's log.
        audit_log: file of the audit log, ``stderr``, or None.
        tracing: True sends spans to an OpenTelemetry collector.
        hints: warnings for the operator.
    """

    redis: RedisSettings
    name: str
    websockets: Sequence[str]
    certificate: Certificate | None = None
    workers: int = 1
    gateway: GatewaySettings
    admin: AdminSettings | None = None
    serves_user_manager: bool = False
    log_format: Literal["text", "json"] = "text"
    log_level: str = "info"
    audit_log: str | None = None
    tracing: bool = False
    hints: Sequence[str] = ()
