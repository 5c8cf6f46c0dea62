from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArchiveEvent(_message.Message):
    __slots__ = ("archive_uuid", "owner_uuid", "status", "archive_url")
    class StatusType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_PENDING: _ClassVar[ArchiveEvent.StatusType]
        STATUS_INPROGRESS: _ClassVar[ArchiveEvent.StatusType]
        STATUS_COMPLETED: _ClassVar[ArchiveEvent.StatusType]
        STATUS_CANCELLED: _ClassVar[ArchiveEvent.StatusType]
        STATUS_DELETED: _ClassVar[ArchiveEvent.StatusType]
    STATUS_PENDING: ArchiveEvent.StatusType
    STATUS_INPROGRESS: ArchiveEvent.StatusType
    STATUS_COMPLETED: ArchiveEvent.StatusType
    STATUS_CANCELLED: ArchiveEvent.StatusType
    STATUS_DELETED: ArchiveEvent.StatusType
    ARCHIVE_UUID_FIELD_NUMBER: _ClassVar[int]
    OWNER_UUID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_URL_FIELD_NUMBER: _ClassVar[int]
    archive_uuid: str
    owner_uuid: str
    status: ArchiveEvent.StatusType
    archive_url: str
    def __init__(self, archive_uuid: _Optional[str] = ..., owner_uuid: _Optional[str] = ..., status: _Optional[_Union[ArchiveEvent.StatusType, str]] = ..., archive_url: _Optional[str] = ...) -> None: ...
