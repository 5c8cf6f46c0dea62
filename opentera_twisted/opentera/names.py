"""Names of variables, modules and topics, as existing OpenTera programs write them."""

from __future__ import annotations

import warnings
from enum import Enum, unique
from typing import ClassVar

from opentera_twisted import topics
from opentera_twisted.variables import Secret

_warned: set[str] = set()


def prefer(old: str, new: str) -> None:
    """Warn once per process that a better class exists."""
    if old not in _warned:
        _warned.add(old)
        warnings.warn(f"{old}: prefer {new}", DeprecationWarning, stacklevel=3)


@unique
class ModuleNames(Enum):
    """Names of the modules of existing OpenTera programs.

    Example:
        >>> ModuleNames.USER_MANAGER_MODULE_NAME.value
        'TeraServer.UserManagerModule'
    """

    FLASK_MODULE_NAME = "TeraServer.FlaskModule"
    TWISTED_MODULE_NAME = topics.TWISTED_MODULE
    LOGIN_MODULE_NAME = "TeraServer.LoginModule"
    USER_MANAGER_MODULE_NAME = topics.USER_MANAGER_MODULE
    DATABASE_MODULE_NAME = "TeraServer.DatabaseModule"
    SERVICE_LAUNCHER_NAME = "TeraServer.ServiceLauncherModule"


class RedisVars:
    """Names of variables, and topics of services; prefer `variables` and `topics`.

    Example:
        >>> RedisVars.build_service_event_topic("Bell")
        'service.Bell.events'
    """

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
        """Return the topic of the requests to a service."""
        return topics.service_rpc(service_key)

    @classmethod
    def build_service_message_topic(cls, service_key: str) -> str:
        """Return the topic of the messages to a service."""
        return topics.service_messages(service_key)

    @classmethod
    def build_service_event_topic(cls, service_key: str) -> str:
        """Return the topic of the events of a service."""
        return topics.service_events(service_key)


def create_module_message_topic_from_name(name: ModuleNames) -> str:
    """Return the topic of the messages to a module.

    Example:
        >>> create_module_message_topic_from_name(ModuleNames.USER_MANAGER_MODULE_NAME)
        'module.TeraServer.UserManagerModule.messages'
    """
    return topics.module_messages(name.value)


def create_module_event_topic_from_name(name: ModuleNames, subtopic: object = None) -> str:
    """Return the topic of the events of a module, or of one of its subtopics.

    Example:
        >>> create_module_event_topic_from_name(ModuleNames.USER_MANAGER_MODULE_NAME)
        'module.TeraServer.UserManagerModule.events'
    """
    return topics.module_events(name.value, str(subtopic) if subtopic else None)
