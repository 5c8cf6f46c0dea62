"""`RedisRPCClient`: blocking calls, which return None on an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.errors import CallError, CallNotSent
from opentera_twisted.opentera import sync_commands
from opentera_twisted.opentera.names import prefer
from opentera_twisted.opentera.threads import check_may_block, in_reactor_thread
from opentera_twisted.rpc import ArgumentValue, Json


class RedisRPCClient:
    """Call procedures of modules and services, from any thread but the reactor's.

    Args:
        config: as in `RedisClient`.
        timeout: seconds until a call returns None.

    Example:
        >>> rpc = RedisRPCClient({"hostname": "127.0.0.1", "port": 6379, "db": 0})
        >>> rpc.call_service("Sum", "add", 1, 2)
        3
    """

    _log = Logger()

    def __init__(self, config: Mapping[str, Any], timeout: float = 10) -> None:
        prefer("RedisRPCClient", "BlockingBus, whose calls raise descriptive errors")
        self.config = config
        self.timeout = timeout
        self._address = sync_commands.address(config)
        self._bus = BlockingBus(self._address, name="RedisRPCClient")

    def call(self, module_name: str, function_name: str, *args: ArgumentValue) -> Json:
        """Call a procedure of a module.

        Returns:
            Its result. None, with a warning in the log, if no program listens, the call fails or no
            reply arrives in time.

        Raises:
            InvalidArgument: an argument is not bool, int, float, str or bytes.
            InReactorThread: this is the reactor's thread; use ``await bus.call(...)`` there.
            CallNotSent: Redis was unreachable until the timeout.
        """
        method = self._bus.call
        return self._call(method, topics.module_rpc, module_name, function_name, *args)

    def call_service(self, service_key: str, function_name: str, *args: ArgumentValue) -> Json:
        """Call a procedure of a service; otherwise like `call`."""
        method = self._bus.call_service
        return self._call(method, topics.service_rpc, service_key, function_name, *args)

    def _call(
        self,
        method: Callable[..., Json],
        topic_of: Callable[[str], str],
        server: str,
        procedure: str,
        *arguments: ArgumentValue,
    ) -> Json:
        check_may_block("a call", "await bus.call(...)")
        try:
            if in_reactor_thread():
                from opentera_twisted.opentera import plain  # noqa: PLC0415 (as for RedisClient)

                topic = topic_of(server)
                return plain.call(self._address, topic, procedure, arguments, self.timeout)
            return method(server, procedure, *arguments, timeout=self.timeout)
        except CallNotSent:
            raise
        except CallError as error:
            self._log.warn(
                "a call returns None: {kind}: {error}", kind=type(error).__name__, error=str(error)
            )
            return None
