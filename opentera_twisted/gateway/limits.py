"""Limits on the gateway's clients."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, lt

from opentera_twisted._internal.timeouts import LONGEST


@frozen(kw_only=True)
class GatewayLimits:
    """Limits of a gateway; 0 means no limit.

    Attributes:
        max_clients: concurrent websockets; as many again may be in their handshake.
        max_clients_per_identity: websockets of one user, participant or device at this gateway.
        handshake_timeout: seconds from the connection to the open websocket.
        max_message_size: bytes of a client's message.
        max_connections_per_address: websockets of one address, and connections of it before login.
        max_messages_per_minute: messages, fragments, pings and pongs of one client; beyond that,
            the gateway closes it.
        max_send_buffer: bytes queued for one client behind the event being sent; beyond that, the
            gateway closes it. A larger event closes it after two seconds without progress.
        failed_logins_per_minute: failed logins of one address; further attempts get 429.
        shutdown_timeout: seconds allowed for stopping.

    Example:
        >>> gateway = Gateway(bus, limits=GatewayLimits(max_clients=500, max_message_size=4096))
        >>> gateway.limits.max_clients
        500
    """

    max_clients: int = field(default=10_000, validator=ge(0))
    max_clients_per_identity: int = field(default=1_000, validator=ge(0))
    handshake_timeout: float = field(default=10.0, validator=[ge(0), lt(LONGEST)])
    max_message_size: int = field(default=65_536, validator=ge(0))
    max_connections_per_address: int = field(default=8_000, validator=ge(0))
    max_messages_per_minute: int = field(default=600, validator=ge(0))
    max_send_buffer: int = field(default=1_048_576, validator=ge(0))
    failed_logins_per_minute: int = field(default=600, validator=ge(0))
    shutdown_timeout: float = field(default=10.0, validator=[ge(0), lt(LONGEST)])
