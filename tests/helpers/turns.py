"""A clock that takes turns as a reactor does."""

from __future__ import annotations

from twisted.internet.task import Clock


class Turns(Clock):
    """A clock whose calls wait for the next turn, as a reactor's do."""

    def turn(self) -> None:
        """Run due calls, without calls that they add."""
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
