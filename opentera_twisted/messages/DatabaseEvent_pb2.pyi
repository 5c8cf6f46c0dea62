from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DatabaseEvent(_message.Message):
    __slots__ = ("type", "object_type", "object_value")
    class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DB_UNKNOWN: _ClassVar[DatabaseEvent.EventType]
        DB_CREATE: _ClassVar[DatabaseEvent.EventType]
        DB_UPDATE: _ClassVar[DatabaseEvent.EventType]
        DB_DELETE: _ClassVar[DatabaseEvent.EventType]
    DB_UNKNOWN: DatabaseEvent.EventType
    DB_CREATE: DatabaseEvent.EventType
    DB_UPDATE: DatabaseEvent.EventType
    DB_DELETE: DatabaseEvent.EventType
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_TYPE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_VALUE_FIELD_NUMBER: _ClassVar[int]
    type: DatabaseEvent.EventType
    object_type: str
    object_value: str
    def __init__(self, type: _Optional[_Union[DatabaseEvent.EventType, str]] = ..., object_type: _Optional[str] = ..., object_value: _Optional[str] = ...) -> None: ...
