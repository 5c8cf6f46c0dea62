"""The protobuf messages of OpenTera, and their envelopes.

The ``.proto`` files in this folder register the same names and descriptors as OpenTera's generated
modules, so that both can be loaded in one process. ``make messages`` generates the ``_pb2``
modules.

envelopes  envelopes of published messages, and the messages in them
text       JSON text of an event for websockets
decoding   recognition and decoding of any payload
templates  envelopes that scripts publish with Redis's time
packing    earlier name of envelopes, for programs that import it

Example:
    >>> events = [
    ...     ArchiveEvent(owner_uuid=UUID, status="STATUS_COMPLETED"),
    ...     DatabaseEvent(type="DB_UPDATE", object_type="user"),
    ...     DeviceEvent(device_uuid=UUID, type="DEVICE_CONNECTED"),
    ...     JoinSessionEvent(session_uuid=UUID, session_users=[UUID]),
    ...     JoinSessionReplyEvent(session_uuid=UUID, join_reply="REPLY_ACCEPTED"),
    ...     LeaveSessionEvent(session_uuid=UUID, leaving_users=[UUID]),
    ...     LoginEvent(log_header=LogEvent(message="login"), login_type="LOGIN_TYPE_TOKEN"),
    ...     ParticipantEvent(participant_uuid=UUID, type="PARTICIPANT_CONNECTED"),
    ...     StopSessionEvent(session_uuid=UUID),
    ...     UserEvent(user_uuid=UUID, type="USER_CONNECTED", user_fullname="Ada"),
    ... ]
    >>> await bus.publish_event("service.Bell.events", *events)  # in a TeraEvent
    0
    >>> envelope = TeraEvent.FromString(bus.published_on("service.Bell.events")[0])
    >>> len(envelope.events)
    10
    >>> messages = [
    ...     CreateSession(source="service.Bell"),
    ...     Result(type="RESULT_OK"),
    ...     RPCMessage(method="add", args=[Value(int_value=1), Value(int_value=2)]),
    ...     ServerCommand(type="CMD_CLIENT_DISCONNECT"),
    ...     TeraMessage(),
    ...     UserRegisterToEvent(),
    ... ]
    >>> await bus.send_module_message("module.Bell.messages", *messages, source="service.Bell")
    0
    >>> len(TeraModuleMessage.FromString(bus.published_on("module.Bell.messages")[0]).data)
    6

Source: docs/reference/wire.md.
"""

from opentera_twisted.messages.ArchiveEvent_pb2 import ArchiveEvent
from opentera_twisted.messages.CreateSession_pb2 import CreateSession
from opentera_twisted.messages.DatabaseEvent_pb2 import DatabaseEvent
from opentera_twisted.messages.DeviceEvent_pb2 import DeviceEvent
from opentera_twisted.messages.JoinSessionEvent_pb2 import JoinSessionEvent
from opentera_twisted.messages.JoinSessionReplyEvent_pb2 import JoinSessionReplyEvent
from opentera_twisted.messages.LeaveSessionEvent_pb2 import LeaveSessionEvent
from opentera_twisted.messages.LogEvent_pb2 import LogEvent
from opentera_twisted.messages.LoginEvent_pb2 import LoginEvent
from opentera_twisted.messages.ParticipantEvent_pb2 import ParticipantEvent
from opentera_twisted.messages.Result_pb2 import Result
from opentera_twisted.messages.RPCMessage_pb2 import RPCMessage, Value
from opentera_twisted.messages.ServerCommand_pb2 import ServerCommand
from opentera_twisted.messages.StopSessionEvent_pb2 import StopSessionEvent
from opentera_twisted.messages.TeraEvent_pb2 import TeraEvent
from opentera_twisted.messages.TeraMessage_pb2 import TeraMessage
from opentera_twisted.messages.TeraModuleMessage_pb2 import TeraModuleMessage
from opentera_twisted.messages.UserEvent_pb2 import UserEvent
from opentera_twisted.messages.UserRegisterToEvent_pb2 import UserRegisterToEvent

__all__ = [
    "ArchiveEvent",
    "CreateSession",
    "DatabaseEvent",
    "DeviceEvent",
    "JoinSessionEvent",
    "JoinSessionReplyEvent",
    "LeaveSessionEvent",
    "LogEvent",
    "LoginEvent",
    "ParticipantEvent",
    "RPCMessage",
    "Result",
    "ServerCommand",
    "StopSessionEvent",
    "TeraEvent",
    "TeraMessage",
    "TeraModuleMessage",
    "UserEvent",
    "UserRegisterToEvent",
    "Value",
]
