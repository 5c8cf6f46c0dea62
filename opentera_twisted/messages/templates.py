"""Envelopes without a time, which a script publishes with Redis's time.

A script that publishes its own change receives the message as a template. The time is that of
publication, even when another program publishes it much later.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

from opentera_twisted.messages import TeraEvent, TeraModuleMessage

# Eight bytes that cannot occur before the time of an envelope.
_OPEN: Final = sys.float_info.max
_OPEN_BYTES: Final = struct.pack("<d", _OPEN)

NOW: Final = """
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""
"""Lua: ``clock`` is Redis's time, and ``now`` that time in milliseconds since the epoch."""

PUBLISH: Final = (
    NOW
    + """
    local stamp = struct.pack('<d', clock[1] + clock[2] / 1000000)
    local function publish(topic, template)
        local at = template:byte(1)
        if at then
            local payload = template:sub(2, at + 1) .. stamp .. template:sub(at + 2)
            return redis.call('PUBLISH', topic, payload)
        end
    end
"""
)
"""Lua: `NOW`, and ``publish(topic, template)``, which returns the number of receivers, or nil for
an empty template.
"""


def template(envelope: TeraEvent | TeraModuleMessage) -> bytes:
    """Encode an envelope without its time, after one byte with the position of the time."""
    header = envelope.head if isinstance(envelope, TeraModuleMessage) else envelope.header
    header.time = _OPEN
    before, _, after = envelope.SerializeToString().partition(_OPEN_BYTES)
    return bytes((len(before),)) + before + after


def fill(template: bytes, timestamp: float) -> bytes:
    """Fill a template with a time in seconds since the epoch, as a script does."""
    before, after = template[1 : template[0] + 1], template[template[0] + 1 :]
    return before + struct.pack("<d", timestamp) + after
