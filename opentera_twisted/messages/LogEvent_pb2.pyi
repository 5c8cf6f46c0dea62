from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogEvent(_message.Message):
    __slots__ = ("level", "timestamp", "sender", "message")
    class LogLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LOGLEVEL_UNKNOWN: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_TRACE: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_DEBUG: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_INFO: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_WARNING: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_CRITICAL: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_ERROR: _ClassVar[LogEvent.LogLevel]
        LOGLEVEL_FATAL: _ClassVar[LogEvent.LogLevel]
    LOGLEVEL_UNKNOWN: LogEvent.LogLevel
    LOGLEVEL_TRACE: LogEvent.LogLevel
    LOGLEVEL_DEBUG: LogEvent.LogLevel
    LOGLEVEL_INFO: LogEvent.LogLevel
    LOGLEVEL_WARNING: LogEvent.LogLevel
    LOGLEVEL_CRITICAL: LogEvent.LogLevel
    LOGLEVEL_ERROR: LogEvent.LogLevel
    LOGLEVEL_FATAL: LogEvent.LogLevel
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    level: LogEvent.LogLevel
    timestamp: float
    sender: str
    message: str
    def __init__(self, level: _Optional[_Union[LogEvent.LogLevel, str]] = ..., timestamp: _Optional[float] = ..., sender: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
