"""A worker's log on its way to the parent's: events as text, with what they need to be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, eventAsJSON, eventFromJSON
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from opentera_twisted.program_log import fields_of


@implementer(ILogObserver)
class Sending:
    """Hands the worker's events on.

    Args:
        reactor: in whose thread they are sent; others log too.
        send: gets each as text.
    """

    def __init__(self, reactor: Any, send: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._send = send

    def __call__(self, event: LogEvent) -> None:
        """Send an event."""
        text = to_text(event)
        if isInIOThread():
            self._send(text)
        else:
            self._reactor.callFromThread(self._send, text)


def to_text(event: LogEvent) -> str:
    """An event as text: what its format names is written as it is now."""
    return eventAsJSON({**event, "log_fields": fields_of(event)})


def from_text(text: str, worker: int) -> LogEvent:
    """The event, which says which worker it is from."""
    event = eventFromJSON(text)
    event["log_format"] = f"worker {worker}: {event.get('log_format') or ''}"
    event["log_fields"] = {**event.get("log_fields", {}), "worker": worker}
    return event
