from . import LogEvent_pb2 as _LogEvent_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoginEvent(_message.Message):
    __slots__ = ("log_header", "login_type", "login_status", "client_name", "client_version", "client_ip", "os_name", "os_version", "user_uuid", "participant_uuid", "device_uuid", "service_uuid", "server_endpoint")
    class LoginStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LOGIN_STATUS_UNKNOWN: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_SUCCESS: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_WRONG_PASSWORD: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_WRONG_USERNAME: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_MAX_ATTEMPTS_REACHED: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_ALREADY_LOGGED_IN: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_INVALID_TOKEN: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_DISABLED_ACCOUNT: _ClassVar[LoginEvent.LoginStatus]
        LOGIN_STATUS_FAILED_WITH_EXPIRED_TOKEN: _ClassVar[LoginEvent.LoginStatus]
    LOGIN_STATUS_UNKNOWN: LoginEvent.LoginStatus
    LOGIN_STATUS_SUCCESS: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_WRONG_PASSWORD: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_WRONG_USERNAME: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_MAX_ATTEMPTS_REACHED: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_ALREADY_LOGGED_IN: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_INVALID_TOKEN: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_DISABLED_ACCOUNT: LoginEvent.LoginStatus
    LOGIN_STATUS_FAILED_WITH_EXPIRED_TOKEN: LoginEvent.LoginStatus
    class LoginType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LOGIN_TYPE_UNKNOWN: _ClassVar[LoginEvent.LoginType]
        LOGIN_TYPE_TOKEN: _ClassVar[LoginEvent.LoginType]
        LOGIN_TYPE_PASSWORD: _ClassVar[LoginEvent.LoginType]
        LOGIN_TYPE_CERTIFICATE: _ClassVar[LoginEvent.LoginType]
    LOGIN_TYPE_UNKNOWN: LoginEvent.LoginType
    LOGIN_TYPE_TOKEN: LoginEvent.LoginType
    LOGIN_TYPE_PASSWORD: LoginEvent.LoginType
    LOGIN_TYPE_CERTIFICATE: LoginEvent.LoginType
    LOG_HEADER_FIELD_NUMBER: _ClassVar[int]
    LOGIN_TYPE_FIELD_NUMBER: _ClassVar[int]
    LOGIN_STATUS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IP_FIELD_NUMBER: _ClassVar[int]
    OS_NAME_FIELD_NUMBER: _ClassVar[int]
    OS_VERSION_FIELD_NUMBER: _ClassVar[int]
    USER_UUID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_UUID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_UUID_FIELD_NUMBER: _ClassVar[int]
    SERVER_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    log_header: _LogEvent_pb2.LogEvent
    login_type: LoginEvent.LoginType
    login_status: LoginEvent.LoginStatus
    client_name: str
    client_version: str
    client_ip: str
    os_name: str
    os_version: str
    user_uuid: str
    participant_uuid: str
    device_uuid: str
    service_uuid: str
    server_endpoint: str
    def __init__(self, log_header: _Optional[_Union[_LogEvent_pb2.LogEvent, _Mapping[str, object]]] = ..., login_type: _Optional[_Union[LoginEvent.LoginType, str]] = ..., login_status: _Optional[_Union[LoginEvent.LoginStatus, str]] = ..., client_name: _Optional[str] = ..., client_version: _Optional[str] = ..., client_ip: _Optional[str] = ..., os_name: _Optional[str] = ..., os_version: _Optional[str] = ..., user_uuid: _Optional[str] = ..., participant_uuid: _Optional[str] = ..., device_uuid: _Optional[str] = ..., service_uuid: _Optional[str] = ..., server_endpoint: _Optional[str] = ...) -> None: ...
