"""`install`: this package's implementations under OpenTera's own names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from opentera_twisted.errors import InstalledTooLate
from opentera_twisted.opentera.calls import RedisRPCClient
from opentera_twisted.opentera.client import RedisClient
from opentera_twisted.opentera.logs import LoggingClient
from opentera_twisted.opentera.modules import BaseModule
from opentera_twisted.opentera.names import (
    ModuleNames,
    RedisVars,
    create_module_event_topic_from_name,
    create_module_message_topic_from_name,
)
from opentera_twisted.opentera.threads import blocking_calls

TRIED_WITH: Final = "1.3.1"
"""OpenTera version whose programs and tests run on this package."""

_REPLACED: Final[Mapping[str, tuple[Any, ...]]] = {
    "opentera.redis.RedisVars": (RedisVars,),
    "opentera.redis.RedisClient": (RedisClient,),
    "opentera.redis.RedisRPCClient": (RedisRPCClient,),
    "opentera.logging.LoggingClient": (LoggingClient,),
    "opentera.modules.BaseModule": (
        BaseModule,
        ModuleNames,
        create_module_event_topic_from_name,
        create_module_message_topic_from_name,
    ),
}


def install(blocking_in_reactor: bool = False) -> None:
    """Run an OpenTera program on this package; call this before the program imports OpenTera.

    It replaces the classes in ``opentera.redis.RedisVars``, ``opentera.redis.RedisClient``,
    ``opentera.redis.RedisRPCClient``, ``opentera.logging.LoggingClient`` and
    ``opentera.modules.BaseModule`` by those of this package. Everything else, such as
    ``opentera.services`` and ``opentera.db``, stays OpenTera's own. It is tested with OpenTera
    1.3.1; other versions cause a warning.

    Args:
        blocking_in_reactor: run calls that block the reactor (``redisGet``, ``self.redis``,
            ``RedisRPCClient.call``) as OpenTera does, instead of refusing them. The log has one
            warning for each place. Each such call stops the whole program until its reply.

    Raises:
        ModuleNotFoundError: OpenTera is not installed.
        InstalledTooLate: OpenTera's modules were already imported; nothing was replaced.

    Example:
        >>> install()  # here, OpenTera is not installed
        Traceback (most recent call last):
        ModuleNotFoundError: OpenTera is not installed: pip install --no-deps opentera==...
    """
    if find_spec("opentera") is None:
        raise ModuleNotFoundError(
            f"OpenTera is not installed: pip install --no-deps opentera=={TRIED_WITH}",
            name="opentera",
        )
    late = [name for name in _REPLACED if name in sys.modules and not _is_ours(name)]
    if late:
        raise InstalledTooLate(
            f"{', '.join(late)}: already imported as OpenTera's own; call install() at the top of "
            "the program, before it imports any module of opentera"
        )
    _warn_of_another_version()
    for name, contents in _REPLACED.items():
        if not _is_ours(name):
            _replace(name, contents)
    blocking_calls.are_allowed = blocking_in_reactor


def _is_ours(name: str) -> bool:
    return isinstance(sys.modules.get(name), _Replacement)


class _Replacement(ModuleType):
    """A module with OpenTera's name and contents of this package."""


def _replace(name: str, contents: tuple[Any, ...]) -> None:
    module = _Replacement(name, f"Of opentera_twisted, in place of OpenTera's own {name}.")
    for content in contents:
        setattr(module, content.__name__, content)
    parent, _, child = name.rpartition(".")
    setattr(import_module(parent), child, module)
    sys.modules[name] = module


def _warn_of_another_version() -> None:
    try:
        found = version("opentera")
    except PackageNotFoundError:  # an uninstalled checkout
        found = "of an unknown version"
    if found != TRIED_WITH:
        warnings.warn(
            f"opentera_twisted is tested with OpenTera {TRIED_WITH}, but found {found}",
            stacklevel=3,
        )
