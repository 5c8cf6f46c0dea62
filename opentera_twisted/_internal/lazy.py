"""`lazy`: names of a package that are loaded on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from opentera_twisted._internal.garbage import paused


def lazy(
    package: dict[str, Any], names: Sequence[str], modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: ``globals()`` of the package.
        names: public names of the package.
        modules: modules of the names, below ``opentera_twisted``; the others are in ``errors``.

    Source: PEP 562.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        with paused():
            module = import_module(f"opentera_twisted.{modules.get(name, 'errors')}")
        value = package[name] = getattr(module, name)
        return value

    return load, lambda: sorted({*package, *names})
