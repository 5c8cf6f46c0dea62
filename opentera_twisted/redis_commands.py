"""`RedisCommands`: txredisapi's commands, sent over the client connection of a bus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal.redis_signatures import Firing, Name, Value
from opentera_twisted.errors import InvalidArgument, NotOnCluster
from opentera_twisted.link import Argument, Link, Script
from opentera_twisted.link.slots import EACH_NODE

_BLOCKS: Final = "blocks the connection that all commands of this bus share"
_TRANSACTION: Final = (
    "needs a connection of its own, and this bus shares one; run a script with eval(), which Redis "
    "executes as one step"
)
_PIPELINE: Final = (
    "is not needed: call the commands without waiting, and gather their results; they share one "
    "round trip"
)
_CHANGES: Final = "would change or end the connection that this bus keeps"
_SUBSCRIBES: Final = "would turn the shared connection into a subscriber; use bus.subscribe"

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("blpop", "brpop", "brpoplpush", "blmove", "blmpop"),
            *("bzpopmin", "bzpopmax", "bzmpop", "wait", "waitaof"),
        ),
        _BLOCKS,
    ),
    **dict.fromkeys(("watch", "unwatch", "multi", "exec", "commit", "discard"), _TRANSACTION),
    **dict.fromkeys(("pipeline", "execute_pipeline"), _PIPELINE),
    **dict.fromkeys(
        ("auth", "hello", "select", "quit", "reset", "shutdown", "client", "sync", "psync"),
        _CHANGES,
    ),
    **dict.fromkeys(
        (
            *("subscribe", "psubscribe", "ssubscribe", "monitor"),
            *("unsubscribe", "punsubscribe", "sunsubscribe"),
        ),
        _SUBSCRIBES,
    ),
}
"""Commands that make no sense on a shared connection, and the reason of each."""

_NO_COMMANDS: Final = frozenset({"execute_command", "handle_reply"})


class RedisCommands(Firing):
    """The commands of txredisapi, such as ``await bus.redis.hset("h", "field", "value")``.

    Names, arguments and results are those of txredisapi: bytes, int, None, or what its method makes
    of them. Commands wait for the link and fail as `Variables` does. ``execute_command`` sends any
    other command.

    Raises:
        InvalidArgument: at once; an argument has the wrong type or is not valid UTF-8 text, or the
            command makes no sense on a connection that others share.
        AttributeError: txredisapi has no such command.

    Fails with:
        BusUnavailable, ConnectionLost, CommandFailed.

    Args:
        link: the link that carries the commands.

    Example:
        >>> await bus.redis.rpush("names", ["Ada", "Grace"])
        2
        >>> await bus.redis.lrange("names", 0, -1)
        [b'Ada', b'Grace']
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._methods: Any = None

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in REFUSED:
            raise InvalidArgument(f"{name} {REFUSED[name]}")
        if name not in command_names():
            raise AttributeError(f"txredisapi has no command {name!r}; use execute_command")
        if self._methods is None:
            self._methods = _methods_class()(self.execute_command)
        method = getattr(self._methods, name)

        def call(*arguments: Any, **named: Any) -> Deferred[Any]:
            result: Deferred[Any] = _checked(method, *arguments, **named)
            return result

        call.__name__ = call.__qualname__ = name
        call.__doc__ = method.__doc__
        return call

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *command_names()})

    def execute_command(self, *arguments: Any) -> Deferred[Any]:
        """Send any command, given its name and arguments.

        Args:
            arguments: bytes, str, int, float, bytearray or memoryview.

        Returns:
            Fires with Redis's reply: bytes, int, None or a list of these.

        Raises:
            InvalidArgument: as for the other commands.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        encoded = [_encode(argument) for argument in arguments]
        if not encoded or not isinstance(arguments[0], str) or not arguments[0]:
            raise InvalidArgument("the first argument of execute_command is a command's name, str")
        name = arguments[0].upper()
        reason = REFUSED.get(name.lower())
        if reason is None and name in {"XREAD", "XREADGROUP"} and b"BLOCK" in map(_upper, encoded):
            reason = _BLOCKS
        if reason is not None:
            raise InvalidArgument(f"{name} {reason}")
        if self._link.address.is_cluster and name in EACH_NODE:
            raise NotOnCluster(f"{name} would reach only one node of the cluster")
        return self._link.execute(name, *encoded[1:])

    def eval(
        self, script: str | bytes, keys: Iterable[Any] = (), args: Iterable[Any] = ()
    ) -> Deferred[Any]:
        """Run a Lua script, which Redis executes as one step; send its text only once.

        Args:
            script: text of the script.
            keys: names of the keys that it uses.
            args: its further arguments.

        Returns:
            Fires with the result of the script; fails like the other commands.
        """
        try:
            text = _encode(script).decode()
        except UnicodeDecodeError:
            raise InvalidArgument("the text of a script must be valid UTF-8") from None
        arguments = [_encode(argument) for argument in args]
        return self._link.run(Script(text), [_encode(key) for key in keys], *arguments)

    def zscore(self, key: Name, element: Value) -> Deferred[float | None]:
        """Return the score of an element of a sorted set, or None; txredisapi needs integers."""
        score = self.execute_command("ZSCORE", key, element)
        return score.addCallback(lambda value: None if value is None else float(value))


@cache
def command_names() -> frozenset[str]:
    """Return the names of txredisapi's commands, without those that are refused.

    Example:
        >>> "hset" in command_names(), "blpop" in command_names()
        (True, False)
    """
    methods = vars(_txredisapi().BaseRedisProtocol)
    return frozenset(
        name
        for name, method in methods.items()
        if callable(method) and name.islower() and not name.startswith("_")
    ).difference(_NO_COMMANDS, REFUSED)


def _txredisapi() -> Any:
    import txredisapi  # noqa: PLC0415 (importing it makes a reactor)

    return txredisapi


@cache
def _methods_class() -> Any:
    """Return a class with txredisapi's methods, which send their commands elsewhere."""

    class Methods(_txredisapi().BaseRedisProtocol):  # type: ignore[misc]  # txredisapi is untyped
        def __init__(self, execute: Callable[..., Deferred[Any]]) -> None:
            super().__init__(charset=None, convertNumbers=False)
            self._execute = execute

        def execute_command(self, *arguments: Any, **named: Any) -> Deferred[Any]:
            result = self._execute(*arguments)
            process = named.get("post_proc")
            return result if process is None else result.addCallback(process)

    return Methods


def _checked(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a method of txredisapi, and give its own errors our name."""
    misuse = _txredisapi().RedisError
    try:
        result = method(*arguments, **named)
    except misuse as error:
        raise InvalidArgument(f"{method.__name__}: {error}") from None

    def rename(failure: Failure) -> Failure:
        if failure.check(misuse):
            return Failure(InvalidArgument(f"{method.__name__}: {failure.value}"))
        return failure

    return result.addErrback(rename)


def _encode(argument: Any) -> bytes:
    """Encode an argument of a command.

    Raises:
        InvalidArgument: it has another type, or is text that UTF-8 cannot encode.
    """
    if isinstance(argument, (bytes, bytearray, memoryview)):
        return bytes(argument)
    if isinstance(argument, str):
        try:
            return argument.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "the text of an argument cannot be encoded in UTF-8; give bytes"
            ) from None
    if isinstance(argument, (int, float)) and not isinstance(argument, bool):
        return repr(argument).encode()
    raise InvalidArgument(
        "an argument of a Redis command must be bytes, str, int or float, not "
        f"{type(argument).__name__}"
    )


def _upper(argument: Argument) -> bytes:
    return argument.upper() if isinstance(argument, bytes) else b""
