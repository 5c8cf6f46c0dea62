"""Procedures of an ``rpc_api``, read from it at each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentera_twisted.rpc import Procedures
from opentera_twisted.rpc.procedures import Procedure

RpcApi = dict[str, Mapping[str, Any]]
"""Names, each with ``{"args": [...], "returns": "...", "callback": function}``."""


class RpcApiProcedures(Procedures):
    """`Procedures` that are looked up in an ``rpc_api``; arguments are not checked.

    Args:
        rpc_api: ``rpc_api`` of a module or service.
        doc: documentation of the module or service.
    """

    def __init__(self, rpc_api: RpcApi, doc: str = "") -> None:
        super().__init__(doc=doc)
        self._rpc_api = rpc_api

    def get(self, name: str) -> Procedure | None:
        """Get a procedure by name, or None."""
        entry = self._rpc_api.get(name)
        return None if entry is None else _procedure(name, entry)

    def __iter__(self) -> Iterator[Procedure]:
        return (_procedure(name, entry) for name, entry in self._rpc_api.items())


def _procedure(name: str, entry: Mapping[str, Any]) -> Procedure:
    callback: Callable[..., Any] = entry["callback"]

    def call(*args) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN002 (of any type)
        return callback(*args)

    declared = Procedures()
    declared.expose(name=name)(call)
    procedure = declared.get(name)
    assert procedure is not None  # noqa: S101 (declared above)
    return procedure
