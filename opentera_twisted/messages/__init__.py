"""The protobuf messages of OpenTera, and their envelopes.

The ``.proto`` files in this folder register the same names and descriptors as OpenTera's generated
modules, so that both can be loaded in one process. ``make messages`` generates the ``_pb2``
modules.

envelopes  envelopes of published messages, and the messages in them
text       JSON text of an event for websockets
decoding   recognition and decoding of any payload
templates  envelopes that scripts publish with Redis's time
packing    earlier name of envelopes, for programs that import it

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
