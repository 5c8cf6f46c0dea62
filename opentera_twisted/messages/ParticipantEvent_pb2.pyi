from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ParticipantEvent(_message.Message):
    __slots__ = ("participant_uuid", "type", "participant_name", "participant_project_name", "participant_site_name")
    class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PARTICIPANT_UNKNOWN: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_CONNECTED: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_DISCONNECTED: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_DELETED: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_ADDED: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_JOINED_SESSION: _ClassVar[ParticipantEvent.EventType]
        PARTICIPANT_LEFT_SESSION: _ClassVar[ParticipantEvent.EventType]
    PARTICIPANT_UNKNOWN: ParticipantEvent.EventType
    PARTICIPANT_CONNECTED: ParticipantEvent.EventType
    PARTICIPANT_DISCONNECTED: ParticipantEvent.EventType
    PARTICIPANT_DELETED: ParticipantEvent.EventType
    PARTICIPANT_ADDED: ParticipantEvent.EventType
    PARTICIPANT_JOINED_SESSION: ParticipantEvent.EventType
    PARTICIPANT_LEFT_SESSION: ParticipantEvent.EventType
    PARTICIPANT_UUID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_PROJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_SITE_NAME_FIELD_NUMBER: _ClassVar[int]
    participant_uuid: str
    type: ParticipantEvent.EventType
    participant_name: str
    participant_project_name: str
    participant_site_name: str
    def __init__(self, participant_uuid: _Optional[str] = ..., type: _Optional[_Union[ParticipantEvent.EventType, str]] = ..., participant_name: _Optional[str] = ..., participant_project_name: _Optional[str] = ..., participant_site_name: _Optional[str] = ...) -> None: ...
