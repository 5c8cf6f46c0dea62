"""Recovery: a client whose websocket broke returns, to any gateway, and gets the events it missed.

window       the newest frames of one client, and the ones it missed
first_frame  the frame that carries a client's token
session      a client in the fan-out, with or without a websocket
tokens       single-use tokens in Redis
handover     transfer of a client's frames between two gateways
marker       the messages and names of a hand-over
peers        registry of the gateways that clients can return to
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
