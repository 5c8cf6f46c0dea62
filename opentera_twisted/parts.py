"""`Parts`: the classes of a bus's parts, which tracing replaces."""

from __future__ import annotations

from typing import Final, NamedTuple

from opentera_twisted.link import ClusterLink, ServerLink
from opentera_twisted.pubsub import PubSub
from opentera_twisted.rpc import Caller, ProcedureServer, Served


class Parts(NamedTuple):
    """The classes that a bus makes its parts with.

    Attributes:
        server_link: link to one server.
        cluster_link: link to a cluster.
        pubsub: publishing and subscriptions.
        caller: calls.
        server: servers of procedures.
        served: counts of the servers.
    """

    server_link: type[ServerLink]
    cluster_link: type[ClusterLink]
    pubsub: type[PubSub]
    caller: type[Caller]
    server: type[ProcedureServer]
    served: type[Served]


PLAIN: Final = Parts(ServerLink, ClusterLink, PubSub, Caller, ProcedureServer, Served)
"""Classes of a bus without tracing."""
