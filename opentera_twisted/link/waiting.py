"""A bounded queue of commands waiting for the link, each with a timeout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from opentera_twisted.errors import BusUnavailable
from opentera_twisted.link.protocol import Argument


@define(eq=False)
class _Command:
    """A waiting command."""

    arguments: tuple[Argument, ...]
    result: Deferred[Any] = field(init=False)
    expiry: IDelayedCall = field(init=False)


class WaitingCommands:
    """Commands that wait for one link, in order.

    Args:
        clock: clock for their timeouts.
        most: maximum number of waiting commands.
        unavailable: makes the error of a timeout, given its seconds.
    """

    def __init__(
        self, clock: IReactorTime, most: int, unavailable: Callable[[float], BusUnavailable]
    ) -> None:
        self._clock = clock
        self._most = most
        self._unavailable = unavailable
        # An ordered set. A dict would find its first item slowly after many deletions there.
        self._commands: OrderedDict[_Command, None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of waiting commands."""
        return len(self._commands)

    def add(self, arguments: tuple[Argument, ...], timeout: float) -> Deferred[Any]:
        """Queue a command; cancelling the Deferred removes it.

        Fails with:
            BusUnavailable: its timeout expired, or the queue is full.
        """
        # Reject a command now that cannot be encoded.
        hiredis.pack_command(arguments)  # type: ignore[arg-type]
        if len(self._commands) >= self._most:
            return fail(too_many(self._most))
        command = _Command(arguments)
        command.result = Deferred(lambda _: self._forget(command))
        command.expiry = self._clock.callLater(timeout, self._expire, command, timeout)
        self._commands[command] = None
        return command.result

    def send(self, execute: Callable[..., Deferred[Any]]) -> None:
        """Send all commands."""
        for command in self._take_all():
            execute(*command.arguments).addBoth(_answer, command)

    def fail(self, error: BusUnavailable) -> None:
        """Fail all commands."""
        for command in self._take_all():
            command.result.errback(error)

    def _take_all(self) -> Iterator[_Command]:
        """Take commands one at a time: the callback of one may cancel the next."""
        while self._commands:
            command = next(iter(self._commands))
            self._forget(command)
            yield command

    def _expire(self, command: _Command, seconds: float) -> None:
        self._forget(command)
        command.result.errback(self._unavailable(seconds))

    def _forget(self, command: _Command) -> None:
        self._commands.pop(command, None)
        if command.expiry.active():
            command.expiry.cancel()


def _answer(answer: Any, command: _Command) -> None:
    if not command.result.called:  # the caller may have cancelled it since it was sent
        command.result.callback(answer)


def too_many(most: int) -> BusUnavailable:
    """Make the error of a full queue."""
    return BusUnavailable(f"{most} commands are already waiting: Redis is down or slow")
