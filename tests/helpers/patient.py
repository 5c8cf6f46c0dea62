"""``twistd opentera-bus`` that gives clients more time, as those of tests share a busy machine."""

from __future__ import annotations

from typing import Any

from twisted.scripts.twistd import run

from opentera_twisted.gateway import autobahn_corrections, protocol

PATIENCE = 120
"""Seconds for a client to shake hands, to answer a ping, and to answer a close."""

OPTIONS = ("--handshake-timeout", str(PATIENCE))
"""The part of it that is an option of the gateway."""


def be_patient() -> None:
    """Give clients that time, in gateways that are made later."""
    protocol_names: Any = protocol
    protocol_names.PONG_TIMEOUT = PATIENCE
    corrections_names: Any = autobahn_corrections
    corrections_names.CLOSE_TIMEOUT = PATIENCE


if __name__ == "__main__":
    be_patient()
    run()
