"""Generated modules of another program: the same .proto files, made from the recorded descriptors.

    python -m tests.helpers.foreign ours-first|foreign-first

Registers both kinds in one process, in that order, and says ``both work`` when they do.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.internal import builder

FILES = json.loads((Path(__file__).parents[1] / "data" / "messages.json").read_text())["files"]
PACKAGE = "opentera.protobuf"


def descriptors() -> list[FileDescriptorProto]:
    """Files in the order of their imports."""
    made = {file["file"]: _file(file) for file in FILES}
    ordered: list[FileDescriptorProto] = []

    def add(file: FileDescriptorProto) -> None:
        for name in file.dependency:
            if name in made:
                add(made[name])
        if file not in ordered:
            ordered.append(file)

    for file in made.values():
        add(file)
    return ordered


def register() -> dict[str, ModuleType]:
    """Register the messages as generated modules do; return them by name."""
    importlib.import_module("google.protobuf.any_pb2")
    modules = {}
    for file in descriptors():
        pool = descriptor_pool.Default()
        descriptor = pool.AddSerializedFile(file.SerializeToString())
        name = file.name.removesuffix(".proto")
        module = modules[name] = ModuleType(f"{name}_pb2")
        builder.BuildMessageAndEnumDescriptors(descriptor, vars(module))
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, vars(module))
    return modules


def _file(recorded: dict[str, Any]) -> FileDescriptorProto:
    file = FileDescriptorProto(
        name=recorded["file"], package=PACKAGE, dependency=recorded["imports"], syntax="proto3"
    )
    for message, order in zip(recorded["messages"], recorded["declared_order"], strict=True):
        file.message_type.append(_message(message, order))
    file.enum_type.extend(map(_enum, recorded["enums"]))
    data = file.SerializeToString()
    assert hashlib.sha256(data).hexdigest() == recorded["serialized_sha256"], recorded["file"]
    return file


def _message(recorded: dict[str, Any], order: dict[str, Any]) -> DescriptorProto:
    message = DescriptorProto(name=order["message"])
    fields = {field["name"]: field for field in recorded["fields"]}
    oneofs: list[str] = []
    for name in order["fields"]:
        field = _field(fields[name])
        oneof = fields[name].get("oneof")
        if oneof is not None:
            if oneof not in oneofs:
                oneofs.append(oneof)
                message.oneof_decl.add(name=oneof)
            field.oneof_index = oneofs.index(oneof)
        message.field.append(field)
    nested = {inner["name"].rpartition(".")[2]: inner for inner in recorded.get("nested", [])}
    for inner in order["nested"]:
        message.nested_type.append(_message(nested[inner["message"]], inner))
    enums = {enum["name"].rpartition(".")[2]: enum for enum in recorded.get("enums", [])}
    message.enum_type.extend(_enum(enums[name]) for name in order["enums"])
    return message


def _field(recorded: dict[str, Any]) -> FieldDescriptorProto:
    label = "LABEL_REPEATED" if recorded.get("repeated") else "LABEL_OPTIONAL"
    kind = recorded["type"]
    field = FieldDescriptorProto(
        name=recorded["name"],
        number=recorded["number"],
        label=FieldDescriptorProto.Label.Value(label),
        type=FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}"),
    )
    if kind in {"message", "enum"}:
        field.type_name = f".{recorded[kind]}"
    return field


def _enum(recorded: dict[str, Any]) -> EnumDescriptorProto:
    enum = EnumDescriptorProto(name=recorded["name"].rpartition(".")[2])
    for name, number in recorded["values"].items():
        enum.value.add(name=name, number=number)
    return enum


def main(order: str) -> None:
    """Register both kinds, and have each parse the other's bytes."""
    if order == "foreign-first":
        foreign = register()
    from opentera_twisted import messages  # noqa: PLC0415 (when is what is tried)
    from opentera_twisted.messages.envelopes import tera_event, unpack  # noqa: PLC0415

    if order == "ours-first":
        foreign = register()
    event = foreign["UserEvent"].UserEvent(user_uuid="u", type=1)
    envelope = tera_event("topic", [event], 1.5)
    theirs = foreign["TeraEvent"].TeraEvent.FromString(envelope.SerializeToString())
    assert theirs.header.topic == "topic"
    read = foreign["UserEvent"].UserEvent()
    assert theirs.events[0].Unpack(read)
    assert read.user_uuid == "u"
    unpacked = unpack(envelope.events[0])
    assert unpacked == messages.UserEvent(user_uuid="u", type=messages.UserEvent.USER_CONNECTED)
    ours = messages.RPCMessage(method="m", args=[messages.Value(int_value=1)])
    call = foreign["RPCMessage"].RPCMessage.FromString(ours.SerializeToString())
    assert (call.method, call.args[0].WhichOneof("arg_value")) == ("m", "int_value")
    import google.protobuf  # noqa: PLC0415 (what was loaded)
    from google.protobuf.internal import api_implementation  # noqa: PLC0415

    print("both work:", google.protobuf.__version__, api_implementation.Type())  # noqa: T201 (for who has started it)


if __name__ == "__main__":
    main(sys.argv[1])
