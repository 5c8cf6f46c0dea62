"""``twistd opentera-bus`` with longer timeouts, because clients of tests share a busy machine."""

from __future__ import annotations

from typing import Any

from twisted.scripts.twistd import run

from opentera_twisted.gateway import admission, autobahn_corrections, protocol

PATIENCE = 120
"""Seconds for a client's login, pong and close."""

OPTIONS = ("--handshake-timeout", str(PATIENCE))
"""Seconds that are also an option of the gateway."""


def be_patient() -> None:
    """Apply these timeouts to gateways created later."""
    admission_names: Any = admission
    admission_names.REDEEM_TIMEOUT = PATIENCE
    protocol_names: Any = protocol
    protocol_names.PONG_TIMEOUT = PATIENCE
    corrections_names: Any = autobahn_corrections
    corrections_names.CLOSE_TIMEOUT = PATIENCE


if __name__ == "__main__":
    be_patient()
    run()
