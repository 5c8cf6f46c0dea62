from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserRegisterToEvent(_message.Message):
    __slots__ = ("event_type", "action")
    class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EVENT_UNKNOWN: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_USER_CONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_USER_DISCONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_USER_DELETED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_USER_ADDED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_USER_UPDATED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_PARTICIPANT_CONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_PARTICIPANT_DISCONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_PARTICIPANT_DELETED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_PARTICIPANT_ADDED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_PARTICIPANT_UPDATED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_DEVICE_CONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_DEVICE_DISCONNECTED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_DEVICE_DELETED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_DEVICE_ADDED: _ClassVar[UserRegisterToEvent.EventType]
        EVENT_DEVICE_UPDATED: _ClassVar[UserRegisterToEvent.EventType]
    EVENT_UNKNOWN: UserRegisterToEvent.EventType
    EVENT_USER_CONNECTED: UserRegisterToEvent.EventType
    EVENT_USER_DISCONNECTED: UserRegisterToEvent.EventType
    EVENT_USER_DELETED: UserRegisterToEvent.EventType
    EVENT_USER_ADDED: UserRegisterToEvent.EventType
    EVENT_USER_UPDATED: UserRegisterToEvent.EventType
    EVENT_PARTICIPANT_CONNECTED: UserRegisterToEvent.EventType
    EVENT_PARTICIPANT_DISCONNECTED: UserRegisterToEvent.EventType
    EVENT_PARTICIPANT_DELETED: UserRegisterToEvent.EventType
    EVENT_PARTICIPANT_ADDED: UserRegisterToEvent.EventType
    EVENT_PARTICIPANT_UPDATED: UserRegisterToEvent.EventType
    EVENT_DEVICE_CONNECTED: UserRegisterToEvent.EventType
    EVENT_DEVICE_DISCONNECTED: UserRegisterToEvent.EventType
    EVENT_DEVICE_DELETED: UserRegisterToEvent.EventType
    EVENT_DEVICE_ADDED: UserRegisterToEvent.EventType
    EVENT_DEVICE_UPDATED: UserRegisterToEvent.EventType
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNKNOWN: _ClassVar[UserRegisterToEvent.Action]
        ACTION_REGISTER: _ClassVar[UserRegisterToEvent.Action]
        ACTION_UNREGISTER: _ClassVar[UserRegisterToEvent.Action]
    ACTION_UNKNOWN: UserRegisterToEvent.Action
    ACTION_REGISTER: UserRegisterToEvent.Action
    ACTION_UNREGISTER: UserRegisterToEvent.Action
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    event_type: UserRegisterToEvent.EventType
    action: UserRegisterToEvent.Action
    def __init__(self, event_type: _Optional[_Union[UserRegisterToEvent.EventType, str]] = ..., action: _Optional[_Union[UserRegisterToEvent.Action, str]] = ...) -> None: ...
