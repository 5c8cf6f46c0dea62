"""Options of the gateway, and the gateway made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import fields_dict

from opentera_twisted.bus import Bus
from opentera_twisted.gateway import DefaultPolicy, Gateway, GatewayLimits, RpcAccess, RpcIdentities
from opentera_twisted.program.option_values import count, seconds
from opentera_twisted.program.settings import GatewaySettings

LIMITS: Final[Mapping[str, tuple[Callable[[str], float], str]]] = {
    "max-clients": (
        count,
        "Concurrent websockets per worker; further ones get 503.",
    ),
    "max-clients-per-identity": (
        count,
        "Websockets of one user, participant or device, per worker; further ones get 429.",
    ),
    "handshake-timeout": (seconds, "Seconds from the connection to the open websocket."),
    "max-message-size": (
        count,
        "Bytes of a client's message; the gateway closes the sender of a larger one with 1009.",
    ),
    "max-connections-per-address": (
        count,
        "Websockets of one address, and connections of it before login; further ones get 429.",
    ),
    "max-messages-per-minute": (
        count,
        (
            "Messages, fragments, pings and pongs per minute of one client; "
            "beyond that, the gateway closes it with 1008."
        ),
    ),
    "max-send-buffer": (
        count,
        (
            "Bytes queued for a client behind the event being sent; "
            "beyond that, the gateway closes it with 1008."
        ),
    ),
    "failed-logins-per-minute": (
        count,
        "Failed logins per minute from one address, per worker; further attempts get 429.",
    ),
    "shutdown-timeout": (seconds, "Seconds allowed for shutdown, including presence reports."),
}
"""Parser and help of each limit's option."""

_OTHERS: Final = (
    "identity-rpc",
    "access-rpc",
    "broadcast",
    "origin",
    "trusted-proxy",
    "on-gap",
    "compression",
    "presence-grace",
    "recovery-window",
    "recovery-buffer",
)
"""Further options of the gateway, with the same names as in `GatewaySettings`."""


def default_of(name: str) -> float:
    """Return the default of a limit."""
    default: Any = fields_dict(GatewayLimits)[_attribute(name)].default
    return default  # type: ignore[no-any-return]


def gateway_settings(options: Mapping[str, Any]) -> GatewaySettings:
    """Return the gateway's settings from checked options."""
    return GatewaySettings(
        limits=GatewayLimits(**{_attribute(name): options[name] for name in LIMITS}),
        require_bound_keys=bool(options["require-bound-keys"]),
        audit=options["audit-log"] != "none",
        **{_attribute(name): options[name] for name in _OTHERS},
    )


def make_gateway(bus: Bus, settings: GatewaySettings) -> Gateway:
    """Make a gateway on a bus."""
    server = settings.identity_rpc
    access = settings.access_rpc
    broadcasts = settings.broadcast
    return Gateway(
        bus,
        require_bound_keys=settings.require_bound_keys,
        identities=None if server is None else RpcIdentities(bus, server),
        policy=DefaultPolicy(broadcasts) if access is None else RpcAccess(bus, access, broadcasts),
        limits=settings.limits,
        origins=settings.origin,
        trusted_proxies=settings.trusted_proxy,
        on_gap=settings.on_gap,
        compression=settings.compression,
        presence_grace=settings.presence_grace,
        recovery_window=settings.recovery_window,
        recovery_buffer=settings.recovery_buffer,
        audit=settings.audit,
    )


def _attribute(name: str) -> str:
    return name.replace("-", "_")
