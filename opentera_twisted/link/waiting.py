"""Commands that wait for the link: each for its time, and only so many of them."""

from __future__ import annotations

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
    """A command that waits."""

    arguments: tuple[Argument, ...]
    result: Deferred[Any] = field(init=False)
    expiry: IDelayedCall = field(init=False)


class WaitingCommands:
    """The commands that wait for one link, in the order in which they were asked for.

    Args:
        clock: for their timeouts.
        most: how many may wait at a time.
        unavailable: makes the error of a command that waited so many seconds in vain.
    """

    def __init__(
        self, clock: IReactorTime, most: int, unavailable: Callable[[float], BusUnavailable]
    ) -> None:
        self._clock = clock
        self._most = most
        self._unavailable = unavailable
        self._commands: dict[_Command, None] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._commands)

    def add(self, arguments: tuple[Argument, ...], timeout: float) -> Deferred[Any]:
        """Have a command wait; cancelling the Deferred forgets it.

        Fails with:
            BusUnavailable: its time ran out, or too many wait already.
        """
        # What cannot be sent is known now.
        hiredis.pack_command(arguments)  # type: ignore[arg-type]
        if len(self._commands) >= self._most:
            return fail(too_many(self._most))
        command = _Command(arguments)
        command.result = Deferred(lambda _: self._forget(command))
        command.expiry = self._clock.callLater(timeout, self._expire, command, timeout)
        self._commands[command] = None
        return command.result

    def send(self, execute: Callable[..., Deferred[Any]]) -> None:
        """Send them all."""
        for command in self._take_all():
            execute(*command.arguments).addBoth(_answer, command)

    def fail(self, error: BusUnavailable) -> None:
        """Fail them all."""
        for command in self._take_all():
            command.result.errback(error)

    def _take_all(self) -> Iterator[_Command]:
        """One after another: what comes of one may cancel the next."""
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
    if not command.result.called:  # who asked may have cancelled it since it was sent
        command.result.callback(answer)


def too_many(most: int) -> BusUnavailable:
    """The error of what would wait beyond the limit."""
    return BusUnavailable(f"{most} commands wait for Redis already: it is away, or slow")
