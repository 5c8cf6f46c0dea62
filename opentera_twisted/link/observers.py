"""`Observers`: functions that the link calls on one kind of event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

from opentera_twisted._internal import callbacks

P = ParamSpec("P")


class Observers(list[Callable[P, object]], Generic[P]):
    """A list of functions; append one to observe, remove it to stop."""

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call each function in order; log its errors and continue."""
        for observer in list(self):
            callbacks.run("an observer of the link", observer, *args, **kwargs)
