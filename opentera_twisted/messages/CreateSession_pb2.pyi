from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSession(_message.Message):
    __slots__ = ("source", "command", "reply_to")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    source: str
    command: str
    reply_to: str
    def __init__(self, source: _Optional[str] = ..., command: _Optional[str] = ..., reply_to: _Optional[str] = ...) -> None: ...
