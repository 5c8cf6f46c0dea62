"""Names of topics and procedures in spans, without UUIDs, so that spans can be grouped."""

from __future__ import annotations

import re
from typing import Final

from opentera_twisted.topics import REPLY_CHANNELS

RPC_SYSTEM: Final = "opentera"
"""Value of ``rpc.system.name``, and the span's name for an unknown procedure."""

OTHER: Final = "_OTHER"
"""Value for a name that another program chose, or that must stay private."""

# Whoever knows such a topic can answer in another program's place.
_PRIVATE: Final = (REPLY_CHANNELS, "opentera.")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WEBSOCKET: Final = re.compile(r"websocket\.(\w+)\..+\.events", re.DOTALL)


def template(topic: str) -> str:
    """Replace the UUIDs in a topic by ``{uuid}``."""
    found = _WEBSOCKET.fullmatch(topic)
    if found is not None:
        return f"websocket.{found[1]}.{{uuid}}.events"
    return _UUID.sub("{uuid}", topic)


def destination(topic: str) -> dict[str, str]:
    """Make the attributes of a topic; the private topics of callers and gateways have no name."""
    if topic.startswith(_PRIVATE):
        return {"messaging.destination.template": OTHER}
    return {
        "messaging.destination.name": topic,
        "messaging.destination.template": template(topic),
    }


def method(topic: str, procedure: str) -> str:
    """Make the name of a procedure: ``service.Sum/add`` for the topic ``service.Sum.rpc``."""
    return f"{template(topic.removesuffix('.rpc'))}/{procedure}"
