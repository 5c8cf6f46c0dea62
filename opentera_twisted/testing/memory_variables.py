"""Variables in memory: strings and lists under names, until they expire."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

Value = bytes | list[bytes]


@define(eq=False)
class _Variable:
    """A variable."""

    value: Value
    expiry: IDelayedCall | None = None


class MemoryVariables:
    """Variables by name.

    Args:
        clock: clock for their lifetimes.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._variables: dict[bytes, _Variable] = {}

    def changed(self, name: bytes) -> None:
        """Called when the value of a variable has changed, or the variable is deleted."""

    def exists(self, name: bytes) -> bool:
        """Return True if a variable exists."""
        return name in self._variables

    def names(self) -> list[bytes]:
        """List all names."""
        return list(self._variables)

    def read(self, name: bytes) -> bytes | None:
        """Read a string variable, or None."""
        variable = self._variables.get(name)
        if variable is None:
            return None
        if isinstance(variable.value, list):
            raise _wrong_type()
        return variable.value

    def items(self, name: bytes) -> list[bytes]:
        """Read a list variable."""
        variable = self._variables.get(name)
        if variable is None:
            return []
        if not isinstance(variable.value, list):
            raise _wrong_type()
        return variable.value

    def replace_items(self, name: bytes, values: list[bytes]) -> int:
        """Write a list variable, and keep its lifetime; an empty list is deleted."""
        if not values:
            self.delete(name)
        elif name in self._variables:
            self._variables[name].value = values
            self.changed(name)
        else:
            self.append(name, values)
        return len(values)

    def append(self, name: bytes, values: Sequence[bytes]) -> int:
        """Append to a list variable; return its new length."""
        variable = self._variables.setdefault(name, _Variable([]))
        if not isinstance(variable.value, list):
            raise _wrong_type()
        variable.value += values
        self.changed(name)
        return len(variable.value)

    def flush(self) -> None:
        """Delete all variables."""
        for name in self.names():
            self.delete(name)

    def now(self) -> int:
        """Return the time of the clock in milliseconds."""
        return round(self._clock.seconds() * 1000)

    def left(self, name: bytes) -> int | None:
        """Return the remaining milliseconds of a variable; None if it does not expire or exist."""
        variable = self._variables.get(name)
        if variable is None or variable.expiry is None:
            return None
        return round(variable.expiry.getTime() * 1000) - self.now()

    def write(self, name: bytes, value: bytes, milliseconds: int | None = None) -> None:
        """Write a string variable."""
        self._forget(name)
        variable = self._variables[name] = _Variable(value)
        if milliseconds is not None:
            variable.expiry = self._clock.callLater(milliseconds / 1000, self._expire, name)
        self.changed(name)

    def expire(self, name: bytes, milliseconds: int) -> bool:
        """Set the lifetime of a variable; return True if it exists."""
        variable = self._variables.get(name)
        if variable is None:
            return False
        if variable.expiry is not None:
            variable.expiry.cancel()
        variable.expiry = self._clock.callLater(milliseconds / 1000, self._expire, name)
        return True

    def delete(self, name: bytes) -> bool:
        """Delete a variable; return True if it existed."""
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
