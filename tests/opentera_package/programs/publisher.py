"""Publishes each of OpenTera's messages with its own client: publisher.py PORT RESULTS TOPIC.

Each is published twice in an event: empty, and with all of its fields. The results are, for each,
the message's name and the text that OpenTera sends to a websocket.
"""

import json
import sys
from pathlib import Path
from typing import Any

import opentera.messages.python as messages
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import MessageToJson
from opentera.redis.RedisClient import RedisClient

CONFIG = {
    "hostname": "127.0.0.1",
    "port": int(sys.argv[1]),
    "db": 0,
    "username": "",
    "password": "",
}
SAMPLES = {"string": "Zoé 🎉", "bytes": b"\x00\xff", "double": 0.1, "float": 0.5, "bool": True}


def value(field: Any) -> Any:
    """Return a value for a field."""
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    for name, sample in SAMPLES.items():
        if field.type == getattr(field, f"TYPE_{name.upper()}"):
            return sample
    return 2**31 - 1


def fill(message: Any) -> Any:
    """Return the message with all fields set; of a oneof, the last."""
    for field in message.DESCRIPTOR.fields:
        repeated = (
            getattr(message, field.name)
            if hasattr(getattr(message, field.name), "extend")
            else None
        )
        if field.message_type is None:
            if repeated is None:
                setattr(message, field.name, value(field))
            else:
                repeated.extend([value(field), value(field)])
        elif field.message_type.full_name == "google.protobuf.Any":
            target = getattr(message, field.name) if repeated is None else repeated.add()
            target.Pack(messages.UserEvent(user_uuid="packed"))
        else:
            fill(getattr(message, field.name) if repeated is None else repeated.add())
    return message


def main() -> None:
    """Publish all messages and write their texts."""
    client = RedisClient(CONFIG)
    topic = sys.argv[3]
    results: list[Any] = []
    for name in sorted({*messages.__all__} - {"Any"}):
        for message in (getattr(messages, name)(), fill(getattr(messages, name)())):
            event = messages.TeraEvent()
            event.header.version = 1
            event.header.time = 1700000000.5
            event.header.topic = topic
            packed = Packed()
            packed.Pack(message)
            event.events.extend([packed])
            whole = messages.TeraMessage()
            whole.message.Pack(event)
            text = MessageToJson(whole, always_print_fields_with_no_presence=True)
            receivers = client.publish(topic, event.SerializeToString())
            results.append([name, text, receivers, event.SerializeToString().hex()])
    Path(sys.argv[2]).write_text(json.dumps(results))


main()
