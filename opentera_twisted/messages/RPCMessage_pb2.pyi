from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("double_value", "float_value", "int_value", "uint_value", "bool_value", "bytes_value", "string_value")
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    UINT_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    double_value: float
    float_value: float
    int_value: int
    uint_value: int
    bool_value: bool
    bytes_value: bytes
    string_value: str
    def __init__(self, double_value: _Optional[float] = ..., float_value: _Optional[float] = ..., int_value: _Optional[int] = ..., uint_value: _Optional[int] = ..., bool_value: bool = ..., bytes_value: _Optional[bytes] = ..., string_value: _Optional[str] = ...) -> None: ...

class RPCMessage(_message.Message):
    __slots__ = ("method", "reply_to", "id", "timestamp", "args")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    method: str
    reply_to: str
    id: int
    timestamp: float
    args: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, method: _Optional[str] = ..., reply_to: _Optional[str] = ..., id: _Optional[int] = ..., timestamp: _Optional[float] = ..., args: _Optional[_Iterable[_Union[Value, _Mapping[str, object]]]] = ...) -> None: ...
