from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceEvent(_message.Message):
    __slots__ = ("device_uuid", "type", "device_name", "device_status")
    class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DEVICE_UNKNOWN: _ClassVar[DeviceEvent.EventType]
        DEVICE_CONNECTED: _ClassVar[DeviceEvent.EventType]
        DEVICE_DISCONNECTED: _ClassVar[DeviceEvent.EventType]
        DEVICE_DELETED: _ClassVar[DeviceEvent.EventType]
        DEVICE_ADDED: _ClassVar[DeviceEvent.EventType]
        DEVICE_JOINED_SESSION: _ClassVar[DeviceEvent.EventType]
        DEVICE_LEFT_SESSION: _ClassVar[DeviceEvent.EventType]
        DEVICE_STATUS_CHANGED: _ClassVar[DeviceEvent.EventType]
    DEVICE_UNKNOWN: DeviceEvent.EventType
    DEVICE_CONNECTED: DeviceEvent.EventType
    DEVICE_DISCONNECTED: DeviceEvent.EventType
    DEVICE_DELETED: DeviceEvent.EventType
    DEVICE_ADDED: DeviceEvent.EventType
    DEVICE_JOINED_SESSION: DeviceEvent.EventType
    DEVICE_LEFT_SESSION: DeviceEvent.EventType
    DEVICE_STATUS_CHANGED: DeviceEvent.EventType
    DEVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_STATUS_FIELD_NUMBER: _ClassVar[int]
    device_uuid: str
    type: DeviceEvent.EventType
    device_name: str
    device_status: str
    def __init__(self, device_uuid: _Optional[str] = ..., type: _Optional[_Union[DeviceEvent.EventType, str]] = ..., device_name: _Optional[str] = ..., device_status: _Optional[str] = ...) -> None: ...
