"""How much the gateway lets clients take."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, lt

from opentera_twisted._internal.timeouts import LONGEST


@frozen(kw_only=True)
class GatewayLimits:
    """What a gateway allows; 0 means no limit.

    Attributes:
        max_clients: websockets at a time; as many again may be in their handshake.
        max_clients_per_identity: websockets of one user, participant or device, at this gateway.
        handshake_timeout: seconds from connecting to open.
        max_message_size: bytes of a client's message.
        max_connections_per_address: of clients that are logged in, and as many again of others.
        max_messages_per_minute: messages, fragments of messages, pings and pongs of one client; of
            more it is closed.
        max_send_buffer: bytes that may wait for one client behind the event being sent; with more
            it is closed. A larger event closes it when it takes nothing for two seconds.
        failed_logins_per_minute: of one address; further attempts are refused unheard.
        shutdown_timeout: seconds that stopping may take.
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
