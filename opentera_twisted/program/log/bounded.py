"""A warning that is repeated is counted, and not written again and again."""

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
"""Seconds over which warnings are counted."""

REPEATS: Final = 3
"""Times that one text is written in that time."""

BURST: Final = 20
"""Texts of one kind that are written in that time."""

KINDS: Final = 1000
"""Kinds that are told apart; all others are one."""

_LEVELS: Final = (LogLevel.warn, LogLevel.error, LogLevel.critical)

_Kind = tuple[object, ...]


@define
class _Seen:
    """What came of one kind since the first."""

    texts: Counter[str] = Factory(Counter)
    held_back: int = 0
    last: str = ""


@implementer(ILogObserver)
class Bounded:
    """Hands events on; of warnings and errors of one kind, only so many in a minute.

    Of one kind are those of one module, level and format. What was held back is told, with its
    number and the last text, when the minute is over. Threads may log too.

    Args:
        observer: gets what is written.
        call_later: calls a function after some seconds, from whatever thread it is asked.
    """

    def __init__(
        self,
        observer: Callable[[LogEvent], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._observer = observer
        self._call_later = call_later
        self._seen: dict[_Kind, _Seen] = {}
        self._lock = RLock()  # a finalizer may log in the midst of it

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        if event.get("log_level") not in _LEVELS or self._is_written(event):
            self._observer(event)

    def flush(self) -> None:
        """Tell at once what was held back."""
        for kind in list(self._seen):
            self._end(kind)

    def _is_written(self, event: LogEvent) -> bool:
        form = event.get("log_kind", event.get("log_format"))  # what comes from workers has both
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
                "log_format": "{count} more like this within {seconds:g} s, the last: {last}",
                "count": seen.held_back,
                "seconds": INTERVAL,
                "last": seen.last,
            }
        )


def _text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    text = formatEvent(event)
    return text if failure is None else f"{text} {failure.getErrorMessage()}".strip()
