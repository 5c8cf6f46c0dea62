"""Hand-overs on a cluster, whose nodes answer at different times."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.errors import ConnectionLost
from opentera_twisted.gateway.recovery.handover import STORED, TIMEOUT, Handovers, KeptSessions
from opentera_twisted.gateway.recovery.marker import (
    FRAMES,
    MARKERS,
    REPLIES,
    Marker,
    NotRecovered,
)
from opentera_twisted.gateway.recovery.tokens import CLAIM, Taken
from opentera_twisted.pubsub import Delivery
from opentera_twisted.sessions import Identity
from tests.helpers.support import UUID

LATE = TIMEOUT * 0.9
"""Seconds of a reply that arrives just within the timeout."""


class Nodes:
    """The nodes of a cluster: commands and messages that wait for their replies."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stored: list[Deferred[Any]] = []
        self.published: list[tuple[str, Any, Deferred[int]]] = []
        self.acknowledged_at: list[Deferred[None]] = []
        self.handlers: dict[str, Callable[[Delivery], object]] = {}

    def execute(self, *_arguments: object) -> Deferred[Any]:
        self.stored.append(Deferred())
        return self.stored[-1]

    def publish(self, topic: str, payload: Any) -> Deferred[int]:
        self.published.append((topic, payload, Deferred()))
        return self.published[-1][-1]

    def attach(self, topic: str, handler: Callable[[Delivery], object]) -> Any:
        self.handlers[topic] = handler
        return Mock(topic=topic)

    def acknowledged(self, *_subscriptions: object) -> Deferred[None]:
        self.acknowledged_at.append(Deferred())
        return self.acknowledged_at[-1]

    def deliver(self, topic: str, payload: bytes) -> None:
        """Deliver a message to a topic's handler."""
        self.handlers[topic](Mock(payload=payload))


def handovers_of(nodes: Any) -> Handovers:
    kept = KeptSessions(lambda _: [], lambda *_: None, lambda _: None)
    handovers = Handovers(nodes, nodes, lambda *_: [], kept)
    handovers.start()
    return handovers


class OldGatewayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.nodes = Nodes()
        self.handovers = handovers_of(self.nodes)
        self.marker = Marker("number", "digest", 0, f"{REPLIES}new")

    def give(self) -> None:
        self.nodes.deliver(self.handovers.marker, self.marker.encode())

    def test_a_stop_waits_until_the_answer_is_published(self) -> None:
        self.give()
        given = self.handovers.given(STORED)
        self.assertNoResult(given)
        self.nodes.stored[0].callback(b"OK")
        ((topic, answer, published),) = self.nodes.published
        assert topic == self.marker.reply
        assert json.loads(answer)[1].startswith(FRAMES)
        self.assertNoResult(given)
        published.callback(1)
        self.successResultOf(given)
        self.handovers.stop()
        assert not self.nodes.clock.getDelayedCalls()

    def test_a_stop_without_a_hand_over_waits_for_nothing(self) -> None:
        self.successResultOf(self.handovers.given(STORED))

    def test_nothing_outlives_a_stop(self) -> None:
        self.give()
        self.marker = Marker("other", "digest", 0, f"{REPLIES}new", ())
        self.give()  # topic by topic
        given = self.handovers.given(1.0)
        self.nodes.clock.advance(1.0)
        self.successResultOf(given)
        self.handovers.stop()
        assert not self.nodes.clock.getDelayedCalls()
        waiting = [*self.nodes.stored, *(published for *_, published in self.nodes.published)]
        assert all(deferred.called for deferred in waiting)


class NewGatewayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.nodes = Nodes()
        self.handovers = handovers_of(self.nodes)
        self.nodes.acknowledged_at.clear()
        self.taken = Taken(Identity("user", UUID, "name"), f"{MARKERS}old", True, "d", "next", "n")

    def answer(self, number: str, key: str | None, reason: str | None) -> None:
        self.nodes.deliver(self.handovers._reply, json.dumps([number, key, reason]).encode())

    def late(self) -> None:
        self.nodes.clock.advance(LATE)

    def test_slow_replies_end_a_fetch_by_topic_before_the_claim(self) -> None:
        fetching = Deferred.fromCoroutine(
            self.handovers.fetch_by_topic(self.taken, 0, ["topic"], lambda _: None)
        )
        (number,) = self.handovers._pending
        ended = self.end_of(fetching)
        steps: list[Callable[[], object]] = [
            lambda: self.nodes.acknowledged_at[0].callback(None),
            lambda: self.nodes.published[0][-1].callback(1),
            lambda: self.answer(number, None, "ready"),
            lambda: self.answer(number, f"{FRAMES}key", None),
        ]
        for step in steps:
            self.late()
            if ended:
                break
            step()
        self.late()
        self.expect_timeout(fetching, ended)

    def test_slow_replies_end_a_fetch_before_the_claim(self) -> None:
        fetching = Deferred.fromCoroutine(
            self.handovers.fetch(self.taken, 0, succeed(None), lambda: None)
        )
        (number,) = self.handovers._pending
        ended = self.end_of(fetching)
        self.nodes.acknowledged_at[0].callback(None)
        self.late()
        self.nodes.published[0][-1].callback(1)
        self.handovers._pending[number].is_marked = True
        self.late()
        self.answer(number, f"{FRAMES}key", None)
        self.late()
        self.expect_timeout(fetching, ended)

    def test_an_answer_before_a_failed_publication_logs_nothing(self) -> None:
        fetching = Deferred.fromCoroutine(
            self.handovers.fetch(self.taken, 0, succeed(None), lambda: None)
        )
        (number,) = self.handovers._pending
        self.nodes.acknowledged_at[0].callback(None)
        self.answer(number, None, "unknown")
        self.nodes.published[0][-1].errback(ConnectionLost("the link was lost"))
        with pytest.raises(NotRecovered, match="failed"):
            raise self.failureResultOf(fetching).value
        del fetching
        gc.collect()
        assert not self.flushLoggedErrors()

    def end_of(self, fetching: Deferred[Any]) -> list[float]:
        """Return a list that gets the time at which the fetch fails."""
        ended: list[float] = []

        def failed(failure: Failure) -> Failure:
            ended.append(self.nodes.clock.seconds())
            return failure

        fetching.addErrback(failed)
        return ended

    def expect_timeout(self, fetching: Deferred[Any], ended: list[float]) -> None:
        assert ended
        assert ended[0] < CLAIM
        with pytest.raises(NotRecovered, match="timeout"):
            raise self.failureResultOf(fetching).value
        self.handovers.stop()
        assert not self.nodes.clock.getDelayedCalls()
