from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TeraModuleMessage(_message.Message):
    __slots__ = ("head", "data")
    class Header(_message.Message):
        __slots__ = ("version", "time", "seq", "source", "dest")
        VERSION_FIELD_NUMBER: _ClassVar[int]
        TIME_FIELD_NUMBER: _ClassVar[int]
        SEQ_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        DEST_FIELD_NUMBER: _ClassVar[int]
        version: int
        time: float
        seq: int
        source: str
        dest: str
        def __init__(self, version: _Optional[int] = ..., time: _Optional[float] = ..., seq: _Optional[int] = ..., source: _Optional[str] = ..., dest: _Optional[str] = ...) -> None: ...
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    head: TeraModuleMessage.Header
    data: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, head: _Optional[_Union[TeraModuleMessage.Header, _Mapping[str, object]]] = ..., data: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping[str, object]]]] = ...) -> None: ...
