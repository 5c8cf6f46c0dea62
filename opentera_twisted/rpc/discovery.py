"""Services and modules that listen now, and their descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted._internal.gathered import gathered
from opentera_twisted.errors import (
    BadReply,
    CallError,
    InvalidTopic,
    NoResponder,
    PermissionDenied,
)
from opentera_twisted.link import Link
from opentera_twisted.rpc.caller import Caller
from opentera_twisted.rpc.description import DESCRIBE, Description, from_json

EXISTING_MODULES: Final = (
    "TeraServer.FlaskModule",
    "TeraServer.TwistedModule",
    "TeraServer.LoginModule",
    "TeraServer.UserManagerModule",
    "TeraServer.DatabaseModule",
    "TeraServer.ServiceLauncherModule",
)
"""Names of the modules of existing OpenTera programs."""

_GATEWAYS: Final = topics.service_rpc(topics.GATEWAY_SERVICE)

_SCANNED: Final = 1000
"""Approximate number of keys that one SCAN visits."""


@frozen
class Listening:
    """A service or module that listens now.

    Attributes:
        server: ``service.<key>`` or ``module.<name>``.
        description: its description; None for existing OpenTera programs, which have none.
        problem: error in the received description; empty without an error.

    Example:
        >>> for listening in await bus.services():
        ...     print(listening.server, listening.description.version)
        service.Sum 1.0
    """

    server: str
    description: Description | None
    problem: str = ""


async def describe(caller: Caller, topic: str, timeout: float) -> Description:
    """Request a server's description; fails like a call."""
    return from_json(await caller.call(topic, DESCRIBE, (), timeout), topic)


async def listed_topics(link: Link) -> set[str]:
    """Return the topics of the servers that Redis lists, without the gateways' own service."""
    return set(_servers({topics.decode(name) for name in await link.subscribed("*.rpc")}))


async def services(link: Link, caller: Caller, timeout: float) -> list[Listening]:
    """Find all servers that listen now, and request their descriptions.

    Redis lists the servers that subscribe to exact topics. Existing OpenTera programs subscribe to
    patterns, which Redis does not list. So if there are patterns, their modules and the services
    with information in Redis are called too. The gateways' own service is not listed.
    """
    listed = await listed_topics(link)
    candidates = set(listed)
    if not link.address.is_cluster and await link.execute("PUBSUB", "NUMPAT"):
        candidates.update(topics.module_rpc(name) for name in EXISTING_MODULES)
        candidates.update(await _registered(link))
    found = await gathered(
        Deferred.fromCoroutine(_describe(caller, topic, timeout, is_listed=topic in listed))
        for topic in sorted(_servers(candidates))
    )
    return [listening for listening in found if listening is not None]


async def _registered(link: Link) -> set[str]:
    """Find the RPC topics of the services with information in Redis.

    The result is empty without the right to SCAN: that right would also allow reading session keys.
    """
    found: set[str] = set()
    cursor = b"0"
    while True:
        scan = ("SCAN", cursor, "MATCH", "service.*", "COUNT", _SCANNED)
        try:
            cursor, names = await link.execute(*scan)
        except PermissionDenied:
            return found
        found.update(f"{topics.decode(name)}.rpc" for name in names)
        if cursor == b"0":
            return found


def _servers(candidates: Iterable[str]) -> Iterable[str]:
    for topic in candidates:
        try:
            parsed = topics.parse(topic)
        except InvalidTopic:
            continue
        if parsed.channel == "rpc" and topic != _GATEWAYS:
            yield topic


async def _describe(
    caller: Caller, topic: str, timeout: float, *, is_listed: bool
) -> Listening | None:
    server = topic.removesuffix(".rpc")
    try:
        return Listening(server, await describe(caller, topic, timeout))
    except NoResponder:
        return None
    except PermissionDenied:  # a user who may only read cannot call
        return Listening(server, None) if is_listed else None
    except BadReply as error:
        return Listening(server, None, str(error))
    except CallError:
        return Listening(server, None)
