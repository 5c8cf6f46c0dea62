"""redis-py clients, for the ``redis`` attribute that existing OpenTera programs use.

All clients of one Redis share one connection pool. A command in the reactor's thread is refused, or
allowed with a warning: see `threads.check_may_block`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any
from uuid import uuid4

from opentera_twisted._internal.extras import explained
from opentera_twisted.errors import CallInterrupted, CallTimeout, NoResponder
from opentera_twisted.link import RedisAddress
from opentera_twisted.opentera.threads import check_may_block
from opentera_twisted.rpc import ArgumentValue, Json
from opentera_twisted.rpc.caller import encode_call
from opentera_twisted.rpc.wire import answers, decode_reply, new_id, return_value
from opentera_twisted.topics import REPLY_CHANNELS

try:
    import redis
except ModuleNotFoundError as error:
    raise explained(error) from None


class _Pool(redis.ConnectionPool):
    """A connection pool that the reactor's thread may use only where it may block."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Get a connection for a command, pipeline or subscription."""
        check_may_block("self.redis", "await self.bus.link.execute(...)")
        return super().get_connection(*args, **kwargs)


def client(address: RedisAddress, name: str) -> redis.Redis:
    """Make a redis-py client.

    Args:
        address: host, port, database and login of the Redis.
        name: name in Redis's client list, if this client is the first of the process.
    """
    pool = _pools.get(address) or _pools.setdefault(address, _pool(address, name))
    return redis.Redis(connection_pool=pool)


_pools: dict[RedisAddress, _Pool] = {}


def _pool(address: RedisAddress, name: str) -> _Pool:
    host, port = address.hosts[0]
    login = address.login
    return _Pool(
        host=host,
        port=port,
        db=address.database,
        username=login.username,
        password=login.password,
        client_name=name,
    )


def call(
    address: RedisAddress,
    topic: str,
    procedure: str,
    arguments: Sequence[ArgumentValue],
    timeout: float,
) -> Json:
    """Call a procedure and block until its reply.

    Args:
        address: address of the Redis.
        topic: topic of the server.
        procedure: name of the procedure.
        arguments: as in `Bus.call`.
        timeout: seconds.

    Returns:
        The procedure's return value.

    Raises:
        InvalidArgument: an argument, the name or the timeout is invalid.
        CallError: the call failed.
    """
    known = {"topic": topic, "procedure": procedure}
    reply_to = f"{REPLY_CHANNELS}{uuid4()}"
    call_id = new_id()
    request = encode_call(procedure, reply_to, call_id, arguments, timeout)
    caller = client(address, "RedisRPCClient")
    try:
        with caller.pubsub() as replies:  # type: ignore[no-untyped-call]
            replies.subscribe(reply_to)
            replies.get_message(timeout=timeout)  # the acknowledgement of the subscription
            if not caller.publish(topic, request):
                raise NoResponder(f"no program listens on {topic}", **known)
            ends = monotonic() + timeout
            while (left := ends - monotonic()) > 0:
                received = replies.get_message(timeout=left)
                reply = None if received is None else decode_reply(received["data"])
                # As in `Caller`: the reply may come from another program.
                if reply is not None and reply.get("id") == call_id and answers(reply, topic):
                    return return_value(reply, topic, procedure)
    except redis.RedisError as error:
        raise CallInterrupted(f"{procedure} of {topic}: {error}", **known) from None
    text = f"{topic} did not answer {procedure} in {timeout:g} seconds"
    raise CallTimeout(text, **known, seconds=timeout)
