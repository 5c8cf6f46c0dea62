"""Recovery: a client whose websocket broke returns, here or elsewhere, to the events it missed.

window       which frames are kept for one client, and which it has missed
first_frame  the frame that tells a client its token
session      stands in the fan-out for a client, with or without a websocket
tokens       tokens in Redis, each good once
handover     a marker divides a client's events between two gateways
peers        which gateways clients can return to
recovery     the sessions of one gateway
"""

from opentera_twisted.gateway.recovery.recovery import (
    OUTCOMES,
    RECOVERY_BUFFER,
    RECOVERY_WINDOW,
    Recovery,
    RecoverySettings,
)

__all__ = ["OUTCOMES", "RECOVERY_BUFFER", "RECOVERY_WINDOW", "Recovery", "RecoverySettings"]
