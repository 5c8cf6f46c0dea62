from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class StopSessionEvent(_message.Message):
    __slots__ = ("session_uuid", "service_uuid")
    SESSION_UUID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    session_uuid: str
    service_uuid: str
    def __init__(self, session_uuid: _Optional[str] = ..., service_uuid: _Optional[str] = ...) -> None: ...
