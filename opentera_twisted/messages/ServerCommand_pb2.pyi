from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServerCommand(_message.Message):
    __slots__ = ("type", "data")
    class CommandType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CMD_UNKNOWN: _ClassVar[ServerCommand.CommandType]
        CMD_REGISTER_DEVICE: _ClassVar[ServerCommand.CommandType]
        CMD_CLIENT_DISCONNECT: _ClassVar[ServerCommand.CommandType]
    CMD_UNKNOWN: ServerCommand.CommandType
    CMD_REGISTER_DEVICE: ServerCommand.CommandType
    CMD_CLIENT_DISCONNECT: ServerCommand.CommandType
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: ServerCommand.CommandType
    data: _any_pb2.Any
    def __init__(self, type: _Optional[_Union[ServerCommand.CommandType, str]] = ..., data: _Optional[_Union[_any_pb2.Any, _Mapping[str, object]]] = ...) -> None: ...
