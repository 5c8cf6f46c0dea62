from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class JoinSessionEvent(_message.Message):
    __slots__ = ("session_url", "session_creator_name", "session_uuid", "session_participants", "session_users", "session_devices", "join_msg", "session_parameters", "service_uuid")
    SESSION_URL_FIELD_NUMBER: _ClassVar[int]
    SESSION_CREATOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_UUID_FIELD_NUMBER: _ClassVar[int]
    SESSION_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_USERS_FIELD_NUMBER: _ClassVar[int]
    SESSION_DEVICES_FIELD_NUMBER: _ClassVar[int]
    JOIN_MSG_FIELD_NUMBER: _ClassVar[int]
    SESSION_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    session_url: str
    session_creator_name: str
    session_uuid: str
    session_participants: _containers.RepeatedScalarFieldContainer[str]
    session_users: _containers.RepeatedScalarFieldContainer[str]
    session_devices: _containers.RepeatedScalarFieldContainer[str]
    join_msg: str
    session_parameters: str
    service_uuid: str
    def __init__(self, session_url: _Optional[str] = ..., session_creator_name: _Optional[str] = ..., session_uuid: _Optional[str] = ..., session_participants: _Optional[_Iterable[str]] = ..., session_users: _Optional[_Iterable[str]] = ..., session_devices: _Optional[_Iterable[str]] = ..., join_msg: _Optional[str] = ..., session_parameters: _Optional[str] = ..., service_uuid: _Optional[str] = ...) -> None: ...
