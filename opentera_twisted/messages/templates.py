"""Envelopes whose time is left open, so that a script can publish them with that of Redis.

A script that changes something and publishes it has the message made beforehand; its time is that
of the moment, even when another program publishes it much later.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

from opentera_twisted.messages import TeraEvent, TeraModuleMessage

# Eight bytes that nothing before the time in an envelope can be.
_OPEN: Final = sys.float_info.max
_OPEN_BYTES: Final = struct.pack("<d", _OPEN)

PUBLISH: Final = """
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    local stamp = struct.pack('<d', clock[1] + clock[2] / 1000000)
    local function publish(topic, template)
        local at = template:byte(1)
        if at then
            local payload = template:sub(2, at + 1) .. stamp .. template:sub(at + 2)
            return redis.call('PUBLISH', topic, payload)
        end
    end
"""
"""Lua: ``now``, milliseconds since the epoch by Redis's clock, and ``publish(topic, template)``,
which returns the number of receivers; nil, and nothing is published, for an empty template."""


def template(envelope: TeraEvent | TeraModuleMessage) -> bytes:
    """The bytes of an envelope without its time, after one byte that says where that goes."""
    header = envelope.head if isinstance(envelope, TeraModuleMessage) else envelope.header
    header.time = _OPEN
    before, _, after = envelope.SerializeToString().partition(_OPEN_BYTES)
    return bytes((len(before),)) + before + after


def fill(template: bytes, timestamp: float) -> bytes:
    """What a script publishes for a template at that time, in seconds since the epoch."""
    before, after = template[1 : template[0] + 1], template[template[0] + 1 :]
    return before + struct.pack("<d", timestamp) + after
