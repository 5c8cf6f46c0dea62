"""A worker's log on its way to the parent's: each event as it is to be written.

Twisted's own events in JSON would lose what an error says, and how numbers are to be written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from opentera_twisted.program.log import fields_of


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


@frozen
class RemoteFailure:
    """What was raised in a worker, as far as a log asks for it."""

    message: str
    traceback: str

    def getErrorMessage(self) -> str:
        """Tell what it says."""
        return self.message

    def getTraceback(self) -> str:
        """Tell where it was raised."""
        return self.traceback


def to_text(event: LogEvent) -> str:
    """An event as text."""
    level, failure = event.get("log_level"), event.get("log_failure")
    return json.dumps(
        {
            "time": event.get("log_time", 0.0),
            "level": "info" if level is None else level.name,
            "namespace": event.get("log_namespace"),
            "system": event.get("log_system"),
            "format": str(event.get("log_format")),
            "text": formatEvent(event),
            "fields": fields_of(event),
            "raised": None
            if failure is None
            else (failure.getErrorMessage(), failure.getTraceback()),
        },
        default=str,
    )


def from_text(text: str, worker: int) -> LogEvent:
    """The event, which says which worker it is from."""
    sent = json.loads(text)
    event = {
        "log_time": sent["time"],
        "log_level": LogLevel.levelWithName(sent["level"]),
        "log_namespace": sent["namespace"],
        "log_format": f"worker {worker}: {{text}}",
        "log_kind": f"worker {worker}: {sent['format']}",
        "log_fields": {**sent["fields"], "worker": worker},
        "text": sent["text"],
    }
    if sent["system"] is not None:
        event["log_system"] = sent["system"]
    if sent["raised"] is not None:
        event["log_failure"] = RemoteFailure(*sent["raised"])
    return event
