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

DEPLOYED_MODULES: Final = (
    "TeraServer.FlaskModule",
    "TeraServer.TwistedModule",
    "TeraServer.LoginModule",
    "TeraServer.UserManagerModule",
    "TeraServer.DatabaseModule",
    "TeraServer.ServiceLauncherModule",
)
"""Names of the modules of deployed servers."""

_SCANNED: Final = 1000
"""Keys that one SCAN looks at, more or less."""


@frozen
class Listening:
    """A service or module that listens now.

    Attributes:
        server: ``service.<key>`` or ``module.<name>``.
        description: what it says of itself; None for an existing one, which cannot.
        problem: the mistake in the description that came; empty without one.
    """

    server: str
    description: Description | None
    problem: str = ""


async def describe(caller: Caller, topic: str, timeout: float) -> Description:
    """Ask the server of a topic for its description; fails like a call."""
    return from_json(await caller.call(topic, DESCRIBE, (), timeout), topic)


async def services(link: Link, caller: Caller, timeout: float) -> list[Listening]:
    """All that listen now, each asked to describe itself.

    Servers that subscribe their exact topic are listed by Redis. Deployed ones subscribe it as a
    pattern, which Redis does not list: when there are patterns at all, the deployed modules and
    the services that have left their information in Redis are asked too.
    """
    channels: list[bytes] = await link.execute("PUBSUB", "CHANNELS", "*.rpc")
    listed = {topics.decode(channel) for channel in channels}
    candidates = set(listed)
    if await link.execute("PUBSUB", "NUMPAT"):
        candidates.update(topics.module_rpc(name) for name in DEPLOYED_MODULES)
        candidates.update(await _registered(link))
    found = await gathered(
        Deferred.fromCoroutine(_ask(caller, topic, timeout, is_listed=topic in listed))
        for topic in sorted(_servers(candidates))
    )
    return [listening for listening in found if listening is not None]


async def _registered(link: Link) -> set[str]:
    """RPC topics of the services that have left their information in Redis.

    None without the right to SCAN: whoever has it can read the names of session keys.
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
        if parsed.channel == "rpc":
            yield topic


async def _ask(caller: Caller, topic: str, timeout: float, *, is_listed: bool) -> Listening | None:
    server = topic.removesuffix(".rpc")
    try:
        return Listening(server, await describe(caller, topic, timeout))
    except NoResponder:
        return None
    except PermissionDenied:  # who may only read cannot ask
        return Listening(server, None) if is_listed else None
    except BadReply as error:
        return Listening(server, None, str(error))
    except CallError:
        return Listening(server, None)
