from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Result(_message.Message):
    __slots__ = ("type", "code", "message")
    class ResultType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNKNOWN: _ClassVar[Result.ResultType]
        RESULT_OK: _ClassVar[Result.ResultType]
        RESULT_ERROR: _ClassVar[Result.ResultType]
        RESULT_WARNING: _ClassVar[Result.ResultType]
    RESULT_UNKNOWN: Result.ResultType
    RESULT_OK: Result.ResultType
    RESULT_ERROR: Result.ResultType
    RESULT_WARNING: Result.ResultType
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: Result.ResultType
    code: int
    message: str
    def __init__(self, type: _Optional[_Union[Result.ResultType, str]] = ..., code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
