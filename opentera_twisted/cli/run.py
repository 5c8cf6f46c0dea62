"""Run the work of a command with a bus; errors and exit statuses."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, ParamSpec

import click
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from opentera_twisted._internal.clock import make_steady
from opentera_twisted.bus import Bus
from opentera_twisted.cli.commands import CommandSettings
from opentera_twisted.cli.values import say
from opentera_twisted.errors import (
    BusError,
    BusUnavailable,
    CommandFailed,
    InvalidArgument,
    InvalidTopic,
)
from opentera_twisted.link import Link, RedisAddress

P = ParamSpec("P")

Work = Callable[[Bus], Awaitable[None]]
"""The part of a command that uses a bus."""

BUS_NAME: Final = "opentera-bus-cli"
"""Name of a command's connections in Redis's list of clients."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, by the convention of shells."""

FAILED: Final = 1
"""Exit status of a failed command; click exits with 2 for a wrong command line."""


def command(function: Callable[P, Work]) -> Callable[P, None]:
    """Make a command that checks its arguments, then runs the returned work with a connected bus.

    An `InvalidArgument` or `InvalidTopic` from the function itself is a usage error, raised before
    connecting. A `BusError` from the work is one line on standard error and status 1.
    """

    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        context = click.get_current_context()
        settings: CommandSettings = context.obj
        try:
            work = function(*arguments, **options)
        except (InvalidArgument, InvalidTopic) as error:
            raise click.UsageError(str(error), context) from None

        async def connect(bus: Bus) -> None:
            await _wait_for_redis(bus.link, settings.timeout)
            await work(bus)

        run_with_bus(connect, context)

    return run


async def _wait_for_redis(link: Link, timeout: float) -> None:
    """Wait for Redis, and check that the URL of one server does not lead to a cluster.

    One node would show only its own topics and subscribers, without an error.

    Raises:
        BusError: Redis is unreachable, or is a node of a cluster.
    """
    if link.address.is_cluster:
        await link.execute("PING", timeout=timeout)
        return
    try:
        info = await link.execute("INFO", "cluster", timeout=timeout)
    except CommandFailed:  # without the right
        return
    if b"cluster_enabled:1" in info:
        url = link.address.cluster_url
        raise BusUnavailable(f"Redis at {link.address} is a node of a cluster; use the URL {url}")


def run_with_bus(work: Work, context: click.Context) -> None:
    """Run work with a started bus, which may not be connected yet, and end the process."""
    settings: CommandSettings = context.obj
    try:
        address = RedisAddress.parse(settings.url)
        if address.tls is None:
            _load_reactor_without_tls()
        bus = Bus(address, name=BUS_NAME)
    except InvalidArgument as error:
        raise click.BadParameter(str(error), context, param_hint="--redis") from None

    async def main(_: object) -> None:
        bus.startService()
        try:
            await work(bus)
        finally:
            await bus.stopService()

    run_in_reactor(main)


def _load_reactor_without_tls() -> None:
    """Import Twisted's reactor without OpenSSL, which takes a fifth of a short command's time.

    Twisted does without OpenSSL if its import fails.
    """
    if "OpenSSL" in sys.modules:
        return
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]  # makes an import fail
    try:
        from twisted.internet import endpoints, reactor  # noqa: F401, PLC0415
    finally:
        del sys.modules["OpenSSL"]


def run_in_reactor(work: Callable[[Any], Awaitable[None]]) -> None:
    """Run a function of the reactor and end the process; a `BusError` is one line and status 1."""
    finished = False

    async def main(reactor: Any) -> None:
        nonlocal finished
        make_steady(reactor)
        try:
            await work(reactor)
        except BusError as error:
            fail(str(error))
        except BrokenPipeError:  # the reader has closed the pipe
            forget_output()
            raise SystemExit(FAILED) from None
        except OSError as error:
            fail(f"cannot write: {error.strerror}")
        finally:
            finished = True

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # Twisted installs its own handler only in place of Python's default one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit:
        if not finished:
            raise SystemExit(INTERRUPTED) from None
        raise
    except KeyboardInterrupt:  # the reactor was not running yet
        raise SystemExit(INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Print a message and end the command with status 1."""
    say(message)
    raise SystemExit(FAILED)


def forget_output() -> None:
    """Discard buffered output, which Python would otherwise fail to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
