"""`RedisRPCClient`: calls that block, and give None when there is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from opentera_twisted.blocking import BlockingBus
from opentera_twisted.errors import CallError, CallNotSent
from opentera_twisted.opentera import early
from opentera_twisted.opentera.names import prefer
from opentera_twisted.rpc import ArgumentValue, Json


class RedisRPCClient:
    """Calls procedures of modules and services, from any thread but the reactor's.

    Args:
        config: as of `RedisClient`.
        timeout: seconds until None is given back.
    """

    _log = Logger()

    def __init__(self, config: Mapping[str, Any], timeout: float = 10) -> None:
        prefer("RedisRPCClient", "BlockingBus, whose calls raise errors that say what happened")
        self.config = config
        self.timeout = timeout
        self._bus = BlockingBus(early.address(config), name="RedisRPCClient")

    def call(self, module_name: str, function_name: str, *args: ArgumentValue) -> Json:
        """Call a procedure of a module.

        Returns:
            What it returned; None, and a warning in the log, when nobody listens, it failed, or
            there was no answer in time.

        Raises:
            InvalidArgument: an argument is not bool, int, float, str or bytes.
            InReactorThread: this is the reactor's thread: ``await bus.call(...)`` there.
            CallNotSent: Redis was not to be had in that time.
        """
        return self._call(self._bus.call, module_name, function_name, *args)

    def call_service(self, service_key: str, function_name: str, *args: ArgumentValue) -> Json:
        """Call a procedure of a service; otherwise like `call`."""
        return self._call(self._bus.call_service, service_key, function_name, *args)

    def _call(self, call: Any, *arguments: ArgumentValue) -> Json:
        try:
            value: Json = call(*arguments, timeout=self.timeout)
        except CallNotSent:
            raise
        except CallError as error:
            self._log.warn(
                "a call gives None: {kind}: {error}", kind=type(error).__name__, error=str(error)
            )
            return None
        return value
