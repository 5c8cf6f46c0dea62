"""`Parts`: the makers of a bus's parts, which tracing replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentera_twisted.link import ServerLink
from opentera_twisted.pubsub import PubSub
from opentera_twisted.rpc.caller import Caller
from opentera_twisted.rpc.statistics import Served

if TYPE_CHECKING:
    from opentera_twisted.link import Link
    from opentera_twisted.rpc import ProcedureServer


class Parts(NamedTuple):
    """The classes that a bus makes its parts with, or functions that load them.

    Attributes:
        server_link: link to one server.
        cluster_link: link to a cluster.
        pubsub: publishing and subscriptions.
        caller: calls.
        server: servers of procedures.
        served: counts of the servers.
    """

    server_link: Callable[..., Link]
    cluster_link: Callable[..., Link]
    pubsub: type[PubSub]
    caller: type[Caller]
    server: Callable[..., ProcedureServer]
    served: type[Served]


def _cluster_link(*arguments: Any, **options: Any) -> Link:
    from opentera_twisted.link.cluster_link import ClusterLink  # noqa: PLC0415 (few need it)

    return ClusterLink(*arguments, **options)


def _server(*arguments: Any, **options: Any) -> ProcedureServer:
    from opentera_twisted.rpc.server import ProcedureServer  # noqa: PLC0415 (callers do not need it)

    return ProcedureServer(*arguments, **options)


PLAIN: Final = Parts(ServerLink, _cluster_link, PubSub, Caller, _server, Served)
"""The parts of a bus without tracing."""
