from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserEvent(_message.Message):
    __slots__ = ("user_uuid", "type", "user_fullname")
    class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        USER_UNKNOWN: _ClassVar[UserEvent.EventType]
        USER_CONNECTED: _ClassVar[UserEvent.EventType]
        USER_DISCONNECTED: _ClassVar[UserEvent.EventType]
        USER_DELETED: _ClassVar[UserEvent.EventType]
        USER_ADDED: _ClassVar[UserEvent.EventType]
        USER_UPDATED: _ClassVar[UserEvent.EventType]
        USER_JOINED_SESSION: _ClassVar[UserEvent.EventType]
        USER_LEFT_SESSION: _ClassVar[UserEvent.EventType]
    USER_UNKNOWN: UserEvent.EventType
    USER_CONNECTED: UserEvent.EventType
    USER_DISCONNECTED: UserEvent.EventType
    USER_DELETED: UserEvent.EventType
    USER_ADDED: UserEvent.EventType
    USER_UPDATED: UserEvent.EventType
    USER_JOINED_SESSION: UserEvent.EventType
    USER_LEFT_SESSION: UserEvent.EventType
    USER_UUID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_FULLNAME_FIELD_NUMBER: _ClassVar[int]
    user_uuid: str
    type: UserEvent.EventType
    user_fullname: str
    def __init__(self, user_uuid: _Optional[str] = ..., type: _Optional[_Union[UserEvent.EventType, str]] = ..., user_fullname: _Optional[str] = ...) -> None: ...
