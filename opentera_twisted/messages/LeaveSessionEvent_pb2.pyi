from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class LeaveSessionEvent(_message.Message):
    __slots__ = ("session_uuid", "service_uuid", "leaving_participants", "leaving_users", "leaving_devices")
    SESSION_UUID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    LEAVING_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_USERS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_DEVICES_FIELD_NUMBER: _ClassVar[int]
    session_uuid: str
    service_uuid: str
    leaving_participants: _containers.RepeatedScalarFieldContainer[str]
    leaving_users: _containers.RepeatedScalarFieldContainer[str]
    leaving_devices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session_uuid: _Optional[str] = ..., service_uuid: _Optional[str] = ..., leaving_participants: _Optional[_Iterable[str]] = ..., leaving_users: _Optional[_Iterable[str]] = ..., leaving_devices: _Optional[_Iterable[str]] = ...) -> None: ...
