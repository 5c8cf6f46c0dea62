from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TeraEvent(_message.Message):
    __slots__ = ("header", "events")
    class Header(_message.Message):
        __slots__ = ("version", "time", "topic")
        VERSION_FIELD_NUMBER: _ClassVar[int]
        TIME_FIELD_NUMBER: _ClassVar[int]
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        version: int
        time: float
        topic: str
        def __init__(self, version: _Optional[int] = ..., time: _Optional[float] = ..., topic: _Optional[str] = ...) -> None: ...
    HEADER_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    header: TeraEvent.Header
    events: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, header: _Optional[_Union[TeraEvent.Header, _Mapping[str, object]]] = ..., events: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping[str, object]]]] = ...) -> None: ...
