"""Variables in memory: strings and lists under names, until their time is over."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

Value = bytes | list[bytes]


@define(eq=False)
class _Variable:
    """What stands under a name."""

    value: Value
    expiry: IDelayedCall | None = None


class MemoryVariables:
    """What stands under names.

    Args:
        clock: for their lifetimes.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._variables: dict[bytes, _Variable] = {}

    def changed(self, name: bytes) -> None:
        """Called when something else, or nothing, is under a name."""

    def exists(self, name: bytes) -> bool:
        """Whether there is something under a name."""
        return name in self._variables

    def names(self) -> list[bytes]:
        """All names."""
        return list(self._variables)

    def read(self, name: bytes) -> bytes | None:
        """The string under a name."""
        variable = self._variables.get(name)
        if variable is None:
            return None
        if isinstance(variable.value, list):
            raise _wrong_type()
        return variable.value

    def items(self, name: bytes) -> list[bytes]:
        """The list under a name."""
        variable = self._variables.get(name)
        return variable.value if variable is not None and isinstance(variable.value, list) else []

    def append(self, name: bytes, values: Sequence[bytes]) -> int:
        """Append to the list under a name; its new length."""
        variable = self._variables.setdefault(name, _Variable([]))
        if not isinstance(variable.value, list):
            raise _wrong_type()
        variable.value += values
        self.changed(name)
        return len(variable.value)

    def flush(self) -> None:
        """Delete all that is under any name."""
        for name in self.names():
            self.delete(name)

    def now(self) -> int:
        """Milliseconds on the clock."""
        return round(self._clock.seconds() * 1000)

    def left(self, name: bytes) -> int | None:
        """Milliseconds that what is under a name has left; None when it has no end, or is none."""
        variable = self._variables.get(name)
        if variable is None or variable.expiry is None:
            return None
        return round(variable.expiry.getTime() * 1000) - self.now()

    def write(self, name: bytes, value: bytes, milliseconds: int | None = None) -> None:
        """Put a string under a name."""
        self._forget(name)
        variable = self._variables[name] = _Variable(value)
        if milliseconds is not None:
            variable.expiry = self._clock.callLater(milliseconds / 1000, self._expire, name)
        self.changed(name)

    def delete(self, name: bytes) -> bool:
        """Delete what is under a name; whether there was something."""
        found = self._forget(name)
        if found:
            self.changed(name)
        return found

    def _expire(self, name: bytes) -> None:
        del self._variables[name]
        self.changed(name)

    def _forget(self, name: bytes) -> bool:
        variable = self._variables.pop(name, None)
        if variable is not None and variable.expiry is not None:
            variable.expiry.cancel()
        return variable is not None


def _wrong_type() -> Exception:
    return Exception("WRONGTYPE Operation against a key holding the wrong kind of value")
