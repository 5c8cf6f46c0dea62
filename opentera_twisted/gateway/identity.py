"""Identities that a service looks up when a client logs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BadReply, InvalidArgument, InvalidTopic
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import Kind


def checked(answer: Any) -> Identity | None:
    """Check a resolver's answer and return it.

    Raises:
        BadReply: a field has a wrong type, which would block all presence reports later.
    """
    if answer is None:
        return None
    if not isinstance(answer, Identity):
        raise BadReply(f"expected an Identity or None, not {type(answer).__name__}")
    for name in ("name", "project", "site"):
        if not isinstance(getattr(answer, name), str):
            raise BadReply(f"the {name} of an Identity is not text")
    if not isinstance(answer.topics, tuple):
        raise BadReply("the topics of an Identity are not a tuple")
    for topic in answer.topics:
        try:
            topics.encode(topic)
        except InvalidTopic as error:
            raise BadReply(str(error)) from None
    return answer


class RpcIdentities:
    """Resolves identities with ``identify(kind, uuid)`` of a service.

    The procedure returns null to refuse a login, or an object. The object may have ``name``,
    ``project``, ``site`` (strings) and ``topics`` (a list of strings).

    Args:
        bus: bus for the calls.
        server: ``service.<key>`` or ``module.<name>``.
        timeout: seconds to wait for a reply.

    Raises:
        InvalidArgument: the server's name or the timeout is invalid.

    Example:
        >>> gateway = Gateway(bus, identities=RpcIdentities(bus, "service.Directory"))
    """

    def __init__(self, bus: Bus, server: str, timeout: float = 5.0) -> None:
        self._bus = bus
        self._server = server
        check_timeout(timeout)
        self._timeout = timeout
        try:
            self._topic = topics.rpc_of(server)
        except InvalidTopic as error:
            raise InvalidArgument(str(error)) from None

    def resolve(self, kind: Kind, uuid: str) -> Deferred[Identity | None]:
        """Call ``identify``; fails as `Bus.call` does, and with `BadReply` for another answer."""
        return Deferred.fromCoroutine(self._resolve(kind, uuid))

    async def _resolve(self, kind: Kind, uuid: str) -> Identity | None:
        answer = await self._bus.caller.call(self._topic, "identify", (kind, uuid), self._timeout)
        if answer is None:
            return None
        if not isinstance(answer, Mapping):
            raise BadReply(f"identify of {self._server} returned neither an object nor null")
        granted = answer.get("topics") or []
        if not isinstance(granted, list):
            raise BadReply(f"identify of {self._server}: topics is not a list")
        return Identity(
            kind,
            uuid,
            name=self._text(answer, "name"),
            project=self._text(answer, "project"),
            site=self._text(answer, "site"),
            topics=tuple(granted),
        )

    def _text(self, answer: Mapping[str, Any], field: str) -> str:
        value = answer.get(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadReply(f"identify of {self._server}: {field} is not text")
        return value
