"""A log event as one line: JSON, or text as twistd writes it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final

from twisted.logger import LogEvent, LogLevel, formatEvent, formatEventAsClassicLogText

from opentera_twisted._internal.printable import printable

_FORMATTER: Final = Formatter()


def json_line(event: LogEvent) -> str | None:
    """Format an event; return None if it is empty.

    The object has ``time`` (UTC), ``level``, ``module``, ``event`` (the text), ``fields`` and, for
    an exception, ``traceback``. ``fields`` has only the values that the text contains: others may
    be secret.
    """
    text = formatEvent(event)
    failure = event.get("log_failure")
    if not text and failure is None:
        return None
    level = event.get("log_level")
    line = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(
            timespec="milliseconds"
        ),
        "level": "info" if level is None else level.name,
        "module": str(event.get("log_namespace") or "-"),
        "event": text,
        "fields": fields_of(event),
    }
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


def classic_line(event: LogEvent) -> str | None:
    """Format an event as twistd does, with text from other programs made printable."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else printable(text)


def lost_lines(count: int) -> LogEvent:
    """Make the event that reports dropped lines."""
    return {
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_format": "lost {count} lines of the log: the reader or the disk was too slow",
        "count": count,
    }


def fields_of(event: LogEvent) -> Mapping[str, Any]:
    """Return the values in an event's text, as JSON can represent them."""
    if "log_fields" in event:  # logged and resolved in another process
        there: Mapping[str, Any] = event["log_fields"]
        return there
    found: dict[str, Any] = {}
    try:
        parsed = list(_FORMATTER.parse(str(event.get("log_format") or "")))
    except ValueError:  # not a format string
        return found
    for _, name, _, _ in parsed:
        if not name or name.startswith("log_"):
            continue
        try:
            if name.endswith("()"):
                value = event[name.removesuffix("()")]()
            else:
                value, _ = _FORMATTER.get_field(name, (), event)
            found[name] = _plain(value)
        except Exception:  # noqa: BLE001, S112 (values of any type; the text shows the error)
            continue
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)
