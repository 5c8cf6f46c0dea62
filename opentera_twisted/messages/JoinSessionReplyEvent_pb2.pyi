from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JoinSessionReplyEvent(_message.Message):
    __slots__ = ("session_uuid", "user_uuid", "participant_uuid", "device_uuid", "join_reply", "reply_msg")
    class ReplyType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REPLY_UNKNOWN: _ClassVar[JoinSessionReplyEvent.ReplyType]
        REPLY_ACCEPTED: _ClassVar[JoinSessionReplyEvent.ReplyType]
        REPLY_DENIED: _ClassVar[JoinSessionReplyEvent.ReplyType]
        REPLY_BUSY: _ClassVar[JoinSessionReplyEvent.ReplyType]
        REPLY_TIMEOUT: _ClassVar[JoinSessionReplyEvent.ReplyType]
    REPLY_UNKNOWN: JoinSessionReplyEvent.ReplyType
    REPLY_ACCEPTED: JoinSessionReplyEvent.ReplyType
    REPLY_DENIED: JoinSessionReplyEvent.ReplyType
    REPLY_BUSY: JoinSessionReplyEvent.ReplyType
    REPLY_TIMEOUT: JoinSessionReplyEvent.ReplyType
    SESSION_UUID_FIELD_NUMBER: _ClassVar[int]
    USER_UUID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_UUID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    JOIN_REPLY_FIELD_NUMBER: _ClassVar[int]
    REPLY_MSG_FIELD_NUMBER: _ClassVar[int]
    session_uuid: str
    user_uuid: str
    participant_uuid: str
    device_uuid: str
    join_reply: JoinSessionReplyEvent.ReplyType
    reply_msg: str
    def __init__(self, session_uuid: _Optional[str] = ..., user_uuid: _Optional[str] = ..., participant_uuid: _Optional[str] = ..., device_uuid: _Optional[str] = ..., join_reply: _Optional[_Union[JoinSessionReplyEvent.ReplyType, str]] = ..., reply_msg: _Optional[str] = ...) -> None: ...
