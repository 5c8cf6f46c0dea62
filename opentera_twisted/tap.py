"""Entry point of the plugin: ``twistd opentera-bus`` parses `Options` and runs `makeService`."""

from __future__ import annotations

from twisted.application.service import IService

from opentera_twisted._internal.garbage import paused

with paused():
    from opentera_twisted._internal.clock import make_steady
    from opentera_twisted.program.options import Options
    from opentera_twisted.program.service import Program

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Make the services that the options select."""
    from twisted.internet import reactor  # noqa: PLC0415 (twistd has chosen it by now)

    make_steady(reactor)
    return Program(options.settings(), reactor, options.parent)
