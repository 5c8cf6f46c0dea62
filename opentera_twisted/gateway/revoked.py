"""Deleted and disabled identities: the gateway closes their websockets and refuses their keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError
from opentera_twisted.gateway.fanout import Who, who_is
from opentera_twisted.pubsub import Delivery, PubSub, Subscription
from opentera_twisted.revocation import TOPICS, standings
from opentera_twisted.topics import Kind

REMEMBERED: Final = 10_000
"""Identities remembered; beyond that, the one revoked longest ago is forgotten."""

REMEMBERED_SECONDS: Final = 300.0
"""Seconds for which an identity is remembered; existing session keys live for a minute."""


class Revoked:
    """Follows the database events of OpenTera."""

    _log = Logger()

    def __init__(
        self,
        pubsub: PubSub,
        now: Callable[[], float],
        revoked: Callable[[Kind, str], None],
    ) -> None:
        self._pubsub = pubsub
        self._now = now
        self._notify = revoked
        self._since: OrderedDict[Who, float] = OrderedDict()
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Subscribe."""
        if not self._subscriptions:
            self._subscriptions = [self._pubsub.attach(topic, self._received) for topic in TOPICS]
            self._pubsub.acknowledged(*self._subscriptions).addErrback(self._refused)

    def stop(self) -> None:
        """Unsubscribe."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.cancel()

    def includes(self, kind: Kind, uuid: str) -> bool:
        """Return True if an identity was revoked recently and not enabled since."""
        since = self._since.get(who_is(kind, uuid))
        return since is not None and self._now() < since + REMEMBERED_SECONDS

    def _refused(self, failure: Failure) -> None:
        failure.trap(BusError, CancelledError)
        if failure.check(BusError):
            self._log.warn(
                "clients whom OpenTera deletes or disables stay connected: {reason}",
                reason=failure.getErrorMessage(),
            )

    def _received(self, delivery: Delivery) -> None:
        for standing in standings(delivery.topic, delivery.payload):
            who = who_is(standing.kind, standing.uuid)
            self._since.pop(who, None)
            if standing.is_revoked:
                self._since[who] = self._now()
                if len(self._since) > REMEMBERED:
                    self._since.popitem(last=False)
                self._notify(standing.kind, standing.uuid)
