"""Names of variables, modules and topics, as existing programs write them."""

from __future__ import annotations

import warnings
from enum import Enum, unique
from typing import ClassVar

from opentera_twisted import topics
from opentera_twisted.variables import Secret

_warned: set[str] = set()


def prefer(old: str, new: str) -> None:
    """Warn once in a process that there is something better."""
    if old not in _warned:
        _warned.add(old)
        warnings.warn(f"{old}: better is {new}", DeprecationWarning, stacklevel=3)


@unique
class ModuleNames(Enum):
    """Names of the modules of deployed servers."""

    FLASK_MODULE_NAME = "TeraServer.FlaskModule"
    TWISTED_MODULE_NAME = topics.TWISTED_MODULE
    LOGIN_MODULE_NAME = "TeraServer.LoginModule"
    USER_MANAGER_MODULE_NAME = topics.USER_MANAGER_MODULE
    DATABASE_MODULE_NAME = "TeraServer.DatabaseModule"
    SERVICE_LAUNCHER_NAME = "TeraServer.ServiceLauncherModule"


class RedisVars:
    """Names of variables, and topics of services; better are `variables` and `topics`."""

    RedisVar_UserTokenAPIKey: ClassVar = Secret.USER_TOKEN.value
    RedisVar_DeviceTokenAPIKey: ClassVar = Secret.DEVICE_TOKEN.value
    RedisVar_DeviceStaticTokenAPIKey: ClassVar = Secret.DEVICE_STATIC_TOKEN.value
    RedisVar_ParticipantTokenAPIKey: ClassVar = Secret.PARTICIPANT_TOKEN.value
    RedisVar_ParticipantStaticTokenAPIKey: ClassVar = Secret.PARTICIPANT_STATIC_TOKEN.value
    RedisVar_ServiceTokenAPIKey: ClassVar = Secret.SERVICE_TOKEN.value
    RedisVar_ServicePrefixKey: ClassVar = "service."
    RedisVar_UserLoginAttemptKey: ClassVar = "UserLoginAttempts."
    RedisVar_User2FALoginAttemptKey: ClassVar = "User2FALoginAttempts."
    RedisVar_ParticipantLoginAttemptKey: ClassVar = "ParticipantLoginAttempts."

    @classmethod
    def build_service_rpc_topic(cls, service_key: str) -> str:
        """Topic on which a service is called."""
        return topics.service_rpc(service_key)

    @classmethod
    def build_service_message_topic(cls, service_key: str) -> str:
        """Topic of the messages that a service receives."""
        return topics.service_messages(service_key)

    @classmethod
    def build_service_event_topic(cls, service_key: str) -> str:
        """Topic of the events that a service publishes."""
        return topics.service_events(service_key)


def create_module_message_topic_from_name(name: ModuleNames) -> str:
    """Topic of the messages that a module receives."""
    return topics.module_messages(name.value)


def create_module_event_topic_from_name(name: ModuleNames, subtopic: object = None) -> str:
    """Topic of the events that a module publishes, or of one subtopic of them."""
    return topics.module_events(name.value, str(subtopic) if subtopic else None)
