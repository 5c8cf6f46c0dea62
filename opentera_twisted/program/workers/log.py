"""Log events of a worker, sent to the parent's log with their final text.

Twisted's own JSON format would lose messages of errors and formats of numbers.
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
    """Sends a worker's events to the parent.

    Args:
        reactor: Twisted reactor; events of other threads are sent from its thread.
        send: sends an event's text.
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
    """An exception raised in a worker, with the methods that log observers call."""

    message: str
    traceback: str

    def getErrorMessage(self) -> str:
        """Return the message."""
        return self.message

    def getTraceback(self) -> str:
        """Return the traceback."""
        return self.traceback


def to_text(event: LogEvent) -> str:
    """Encode an event as JSON."""
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
    """Decode an event, and add the worker's number."""
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
