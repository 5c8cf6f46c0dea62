"""The classes of a traced bus."""

from __future__ import annotations

from typing import Final

from opentera_twisted.parts import Parts
from opentera_twisted.tracing.calls import TracedCaller, TracedServed, TracedServer
from opentera_twisted.tracing.commands import TracedClusterLink, TracedServerLink
from opentera_twisted.tracing.messages import TracedPubSub

TRACED: Final = Parts(
    TracedServerLink, TracedClusterLink, TracedPubSub, TracedCaller, TracedServer, TracedServed
)
"""Classes of a bus with tracing."""
