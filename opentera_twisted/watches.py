"""Watches of variables: the present value, then each newest value, through client tracking.

Redis remembers the variables read for a watch. It notifies the subscriber connection when one
changes, expires or is deleted, and the bus reads it again. Redis answers the reads of one
connection in order, so that values arrive in order. A variable that changes during a read is read
once more.

Source: Redis command CLIENT TRACKING (REDIRECT, OPTIN) and CLIENT CACHING.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from attrs import Factory, define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted.errors import (
    BusError,
    BusUnavailable,
    CommandFailed,
    InvalidArgument,
    WrongType,
)
from opentera_twisted.link import COMMAND_TIMEOUT, Link, Name, Retry

WatchHandler = Callable[[str, bytes | None], Awaitable[object] | object]
"""Function called with a variable's name and its value, or None when it does not exist."""

_INVALIDATIONS: Final = Name(b"__redis__:invalidate")
_NOTHING: Final = object()


@define(eq=False, repr=False)
class Watch:
    """A handler's watch of a variable; `Watches` makes it.

    Attributes:
        name: name of the variable.
    """

    name: str
    handler: WatchHandler
    first: Deferred[None]
    _cancel: Callable[[Watch], None]
    last: object = _NOTHING
    newest: object = _NOTHING
    is_busy: bool = False
    is_cancelled: bool = False

    def __repr__(self) -> str:
        status = "cancelled" if self.is_cancelled else "active"
        return f"<Watch of {self.name!r}: {status}>"

    def cancel(self) -> Deferred[None]:
        """Cancel the watch; the handler is not called again.

        Returns:
            Fires at once.
        """
        self.is_cancelled = True
        self._cancel(self)
        return succeed(None)


@define(eq=False)
class _Variable:
    """A watched variable.

    Attributes:
        retry: repeats its failed reads; each variable has its own causes to log.
    """

    retry: Retry
    watches: list[Watch] = Factory(list)
    is_read: bool = False
    has_changed: bool = False


class Watches:
    """All watches of a bus.

    Args:
        link: the link that reads variables and receives invalidations.
    """

    _log = Logger()

    def __init__(self, link: Link) -> None:
        self._link = link
        self._variables: dict[bytes, _Variable] = {}
        self._is_tracking = False
        self._retry = Retry(link.clock, self._log)
        link.on_invalidated.append(self._changed)
        link.on_lost.append(self._lost)
        link.on_ready.append(self._restart)
        link.on_stopped.append(self._stopped)

    def watch(self, name: bytes, handler: WatchHandler) -> Deferred[Watch]:
        """Call a handler with a variable's value, now and whenever it changes.

        Args:
            name: name of the variable.
            handler: called with name and value; None when the variable does not exist.

        Returns:
            Fires after the first call of the handler.

        Raises:
            InvalidArgument: the handler cannot be called with a name and a value.

        Fails with:
            BusUnavailable, CommandFailed: the variable cannot be read; the watch is cancelled.
        """
        check_watch_handler(handler)
        return Deferred.fromCoroutine(self._watch(name, handler))

    async def _watch(self, name: bytes, handler: WatchHandler) -> Watch:
        if (stopped := self._link.stopped_error()) is not None:
            raise stopped
        watch = Watch(name.decode(), handler, Deferred(), self._forget)
        variable = self._variables.get(name)
        if variable is None:
            variable = self._variables[name] = _Variable(Retry(self._link.clock, self._log))
        variable.watches.append(watch)
        if self._is_tracking:
            self._read(name)
        elif self._link.is_ready:
            self._restart()
        try:
            await watch.first.addTimeout(COMMAND_TIMEOUT, self._link.clock)
        except BaseException as error:
            self._forget(watch)
            if isinstance(error, DeferredTimeout):
                what = (
                    f"could not read the variable {watch.name} within {COMMAND_TIMEOUT:g} seconds"
                )
                raise BusUnavailable(
                    f"{what}: {self._link.why_not()}",
                    seconds=COMMAND_TIMEOUT,
                ) from self._link.error
            raise
        return watch

    def _forget(self, watch: Watch) -> None:
        name = watch.name.encode()
        variable = self._variables.get(name)
        if variable is None or watch not in variable.watches:
            return
        variable.watches.remove(watch)
        if not variable.watches:
            variable.retry.stop()
            del self._variables[name]
            self._link.untrack(name)

    def _stopped(self) -> None:
        self._is_tracking = False
        self._retry.stop()
        for variable in list(self._variables.values()):
            variable.retry.stop()
            for watch in list(variable.watches):
                if not watch.first.called:
                    watch.first.errback(BusUnavailable("the bus was stopped"))

    def _lost(self, _: Failure) -> None:
        self._is_tracking = False

    def _restart(self) -> None:
        """Track on a new connection, and call every handler with the current value."""
        self._retry.stop()
        if not self._variables:
            return
        for variable in self._variables.values():
            variable.retry.stop()
            variable.is_read = variable.has_changed = False
            for watch in variable.watches:
                watch.last = watch.newest = _NOTHING
        tracking = Deferred.fromCoroutine(self._start_tracking())
        tracking.addErrback(self._not_tracking)

    async def _start_tracking(self) -> None:
        await self._link.subscriptions.want(_INVALIDATIONS)
        await self._link.track()
        self._is_tracking = True
        self._retry.succeeded()
        for name in list(self._variables):
            self._read(name)

    def _not_tracking(self, failure: Failure) -> None:
        failure.trap(BusError)
        if not failure.check(CommandFailed):
            return  # the link broke: this is repeated when it is ready
        for variable in list(self._variables.values()):
            self._failed(variable, failure)
        if self._variables and self._link.is_ready:
            error: Any = failure.value
            self._retry.later("cannot watch variables", error, self._restart)

    def _changed(self, names: Sequence[bytes] | None) -> None:
        """Read the variables that Redis reports as changed; None means any of them."""
        for name in list(self._variables) if names is None else names:
            self._read(name)

    def _read(self, name: bytes) -> None:
        variable = self._variables.get(name)
        if variable is None or not self._is_tracking:
            return
        if variable.is_read:
            variable.has_changed = True
            return
        variable.is_read = True
        reading = self._link.read_tracked(name)
        reading.addCallback(self._got, name, variable)
        reading.addErrback(self._not_read, name, variable)

    def _got(self, value: bytes | None, name: bytes, variable: _Variable) -> None:
        variable.is_read = False
        variable.retry.stop()
        variable.retry.succeeded()
        self._read_changed(name, variable)
        for watch in list(variable.watches):
            if watch.last is _NOTHING or watch.newest != value:
                watch.newest = value
                self._notify(watch)

    def _read_changed(self, name: bytes, variable: _Variable) -> None:
        """Read a variable again that changed while it was read."""
        if variable.has_changed:
            variable.has_changed = False
            self._read(name)

    def _not_read(self, failure: Failure, name: bytes, variable: _Variable) -> None:
        """Repeat the read after a pause: Redis does not track a variable that it did not read."""
        variable.is_read = False
        failure.trap(BusError)
        if failure.check(CommandFailed):
            self._failed(variable, failure)
        if not self._is_tracking or self._variables.get(name) is not variable:
            return  # cancelled, or the link broke: it is read again when the link is ready
        what = f"cannot read the watched variable {name.decode()}"
        if failure.check(WrongType):  # Redis tracks it nevertheless
            self._log.error("{what}: {reason}", what=what, reason=failure.getErrorMessage())
            self._read_changed(name, variable)
            return
        error: Any = failure.value
        variable.retry.later(what, error, partial(self._read, name))

    def _failed(self, variable: _Variable, failure: Failure) -> None:
        """Fail the watches whose handler was never called."""
        for watch in list(variable.watches):
            if not watch.first.called:
                watch.first.errback(failure)

    def _notify(self, watch: Watch) -> None:
        """Call a handler with the newest value, unless its previous call is still running."""
        if watch.is_busy or watch.is_cancelled:
            return
        watch.last = watch.newest
        what = f"a handler of the variable {watch.name}"
        handling = callbacks.run(what, watch.handler, watch.name, watch.last)
        if not watch.first.called:
            watch.first.callback(None)
        if handling is not None:
            watch.is_busy = True
            handling.addCallback(lambda _: self._done(watch))

    def _done(self, watch: Watch) -> None:
        watch.is_busy = False
        if watch.last != watch.newest:
            self._notify(watch)


def check_watch_handler(handler: WatchHandler) -> None:
    """Check that a handler accepts a name and a value.

    Raises:
        InvalidArgument: it does not.
    """
    if not callable(handler) or not callbacks.accepts(handler, 2):
        raise InvalidArgument(
            f"a handler of a variable must take a name and a value, unlike {handler!r}"
        )
