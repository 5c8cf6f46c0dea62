"""Rate limit of repeated warnings, with a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from threading import RLock
from typing import Final

from attrs import Factory, define
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

INTERVAL: Final = 60.0
"""Seconds of one counting period."""

REPEATS: Final = 3
"""Times that one text is written in a period."""

BURST: Final = 20
"""Texts of one kind that are written in a period."""

KINDS: Final = 1000
"""Kinds counted separately; all further ones share a counter."""

_LEVELS: Final = (LogLevel.warn, LogLevel.error, LogLevel.critical)

_Kind = tuple[object, ...]


@define
class _Seen:
    """Counts of one kind in the current period."""

    texts: Counter[str] = Factory(Counter)
    held_back: int = 0
    last: str = ""


@implementer(ILogObserver)
class Bounded:
    """Passes events on, with a limit per minute for warnings and errors of one kind.

    A kind is a module, level and format. After the minute, a summary has the number of suppressed
    events and the last text. Thread-safe.

    Args:
        observer: receives the events to write.
        call_later: calls a function after some seconds; may be called from any thread.
    """

    def __init__(
        self,
        observer: Callable[[LogEvent], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._observer = observer
        self._call_later = call_later
        self._seen: dict[_Kind, _Seen] = {}
        self._lock = RLock()  # a finalizer may log while it is held

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        if event.get("log_level") not in _LEVELS or self._is_written(event):
            self._observer(event)

    def flush(self) -> None:
        """Write the summaries now."""
        for kind in list(self._seen):
            self._end(kind)

    def _is_written(self, event: LogEvent) -> bool:
        form = event.get("log_kind", event.get("log_format"))  # events from workers have both
        kind: _Kind = (event.get("log_level"), event.get("log_namespace"), form)
        text = _text(event)
        with self._lock:
            if kind not in self._seen and len(self._seen) >= KINDS:
                kind = (kind[0], "-", "")
            seen = self._seen.get(kind)
            if seen is None:
                seen = self._seen[kind] = _Seen()
                self._call_later(INTERVAL, lambda: self._end(kind))
            if seen.texts.total() < BURST and seen.texts[text] < REPEATS:
                seen.texts[text] += 1
                return True
            seen.held_back += 1
            seen.last = text
            return False

    def _end(self, kind: _Kind) -> None:
        with self._lock:
            seen = self._seen.pop(kind, None)
        if seen is None or not seen.held_back:
            return
        level, namespace, _ = kind
        self._observer(
            {
                "log_time": time.time(),
                "log_level": level,
                "log_namespace": namespace,
                "log_format": "{count} more like this in {seconds:g} s, the last: {last}",
                "count": seen.held_back,
                "seconds": INTERVAL,
                "last": seen.last,
            }
        )


def _text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    text = formatEvent(event)
    return text if failure is None else f"{text} {failure.getErrorMessage()}".strip()
