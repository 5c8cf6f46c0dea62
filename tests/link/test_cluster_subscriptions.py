"""Topics of a cluster: after any order of events, each is subscribed at the owner of its slot."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import CommandFailed, ConnectionLost, NotOnCluster
from opentera_twisted.link.cluster_subscriptions import ClusterSubscriptions
from opentera_twisted.link.protocol import Done, Operation
from opentera_twisted.link.subscriptions import Name, SubscriptionTable

TOPICS = [b"a", b"b", b"c"]
NAMES = [*map(Name, TOPICS), Name(b"a", is_pattern=True), Name(b"a", is_sharded=True)]
TOPIC = st.sampled_from(TOPICS)
NODE = st.integers(0, 2)


class Node:
    """A model of a node, which knows the true owners and answers in order, on request."""

    def __init__(self, number: int, owners: dict[bytes, int]) -> None:
        self.table = SubscriptionTable()
        self.subscribed: set[bytes] = set()
        self.waiting: list[tuple[Operation, bytes, Done]] = []
        self.is_connected = False
        self._number = number
        self._owners = owners

    def connect(self) -> None:
        self.is_connected = True
        restored = Deferred.fromCoroutine(self.table.restore(self.send))
        restored.addErrback(lambda failure: failure.trap(ConnectionLost) and None)

    def send(self, operation: Operation, names: Sequence[bytes], done: Done) -> None:
        (name,) = names  # the topics belong to different slots
        self.waiting.append((operation, name, done))

    def answer(self) -> None:
        operation, name, done = self.waiting.pop(0)
        if "UNSUBSCRIBE" in operation:
            self.subscribed.discard(name)
        elif operation != "SSUBSCRIBE" or self._owners[name] == self._number:
            self.subscribed.add(name)
        else:
            done(CommandFailed(operation, f"MOVED 1 h:{self._owners[name] + 1}"))
            return
        self.table.acknowledge(operation, name)
        done(None)

    def lose_slot(self, name: bytes) -> None:
        """Cancel a subscription, as a node does that no longer owns the slot."""
        if name in self.subscribed:
            self.subscribed.remove(name)
            self.table.removed(name)

    def lose(self) -> None:
        self.is_connected = False
        self.subscribed.clear()
        waiting, self.waiting = self.waiting, []
        self.table.disconnected()  # first, as a connection does
        for _, _, done in waiting:
            done(ConnectionLost("lost"))


class ClusterMachine(RuleBasedStateMachine):
    """Wants, drops, moves, lost connections and topologies learned late, in any order."""

    def __init__(self, *, is_classic: bool = False) -> None:
        super().__init__()
        self.owners = dict.fromkeys(TOPICS, 0)  # the truth
        self.known = dict(self.owners)  # what the link has learned
        self.nodes = [Node(number, self.owners) for number in range(3)]
        self.interrupted: list[bytes] = []
        self.restored: list[bytes] = []
        self.wanted: set[bytes] = set()
        self.waits = self.ends = 0
        self.subscriptions = ClusterSubscriptions(
            lambda topic: self.nodes[self.known[topic]].table,
            lambda: [node.table for node in self.nodes],
            self.interrupted.extend,
            self.restored.append,
            lambda: None,
            is_classic=is_classic,
        )
        for node in self.nodes:
            self.subscriptions.observe(node.table)

    def wait(self, waiting: Deferred[None]) -> None:
        def end(result: object) -> None:
            self.ends += 1
            if isinstance(result, Failure):
                result.trap(CancelledError)

        self.waits += 1
        waiting.addBoth(end)

    @rule(topics=st.lists(TOPIC))
    def want(self, topics: list[bytes]) -> None:
        self.wanted.update(topics)
        self.wait(self.subscriptions.want(*map(Name, topics)))

    @rule(topic=TOPIC)
    def drop(self, topic: bytes) -> None:
        self.wanted.discard(topic)
        self.wait(self.subscriptions.drop(Name(topic)))

    @rule(number=NODE)
    def connect_or_lose(self, number: int) -> None:
        node = self.nodes[number]
        if node.is_connected:
            node.lose()
            self.subscriptions.interrupted(node.table)
        else:
            node.connect()

    @rule(number=NODE)
    def answer(self, number: int) -> None:
        if self.nodes[number].waiting:
            self.nodes[number].answer()

    @rule(topic=TOPIC, number=NODE)
    def move(self, topic: bytes, number: int) -> None:
        before, self.owners[topic] = self.owners[topic], number
        if before != number:
            self.nodes[before].lose_slot(topic)

    @rule()
    def learn(self) -> None:
        self.known.update(self.owners)
        self.subscriptions.assign()

    @precondition(lambda self: self.known != self.owners)
    @rule(topic=TOPIC, number=NODE)
    def learn_from_a_node_that_lags_behind(self, topic: bytes, number: int) -> None:
        self.known[topic] = number
        self.subscriptions.assign()

    @invariant()
    def wanted_is_what_was_asked(self) -> None:
        assert {name.text for name in self.subscriptions.wanted} == self.wanted
        assert set(filter(self.subscriptions.is_wanted, NAMES)) == set(map(Name, self.wanted))

    def teardown(self) -> None:
        for node in self.nodes:
            if not node.is_connected:
                node.connect()
        for _ in range(3):  # a topic settles in the round after the truth is known
            self.learn()
            for node in self.nodes:
                while node.waiting:
                    node.answer()
        assert self.subscriptions.is_settled
        assert not any(node.waiting for node in self.nodes)
        assert {name.text for name in self.subscriptions.wanted} == self.wanted
        assert {name.text for name in self.subscriptions.acknowledged} == self.wanted
        for number, node in enumerate(self.nodes):
            assert node.subscribed == {
                topic for topic in self.wanted if self.owners[topic] == number
            }
        assert self.ends == self.waits
        for topic in self.wanted:
            assert not self.subscriptions.is_in_gap(topic)
            # A dropped topic leaves its gap without an end.
            assert self.restored.count(topic) <= self.interrupted.count(topic)


ClusterTest = ClusterMachine.TestCase


class GapTests(SynchronousTestCase):
    machine: ClusterMachine

    def setUp(self) -> None:
        self.start(ClusterMachine())

    def start(self, machine: ClusterMachine) -> None:
        self.machine = machine
        for number in range(3):
            machine.connect_or_lose(number)
        machine.want(TOPICS)
        self.answer_all()

    def answer_all(self) -> None:
        for node in self.machine.nodes:
            while node.waiting:
                node.answer()

    def test_a_moved_topic_alone_has_a_gap(self) -> None:
        self.machine.move(b"b", 1)
        assert (self.machine.interrupted, self.machine.restored) == ([b"b"], [])
        self.machine.learn()
        self.answer_all()
        assert (self.machine.interrupted, self.machine.restored) == ([b"b"], [b"b"])

    def test_a_lost_node_interrupts_its_topics_alone(self) -> None:
        self.machine.move(b"b", 1)
        self.machine.learn()
        self.answer_all()
        self.machine.connect_or_lose(0)
        assert sorted(self.machine.interrupted[1:]) == [b"a", b"c"]
        for topic in (b"a", b"c"):
            self.machine.owners[topic] = 2  # its replica takes over
        self.machine.learn()
        self.answer_all()
        assert sorted(self.machine.restored) == [b"a", b"b", b"c"]

    def test_a_stale_topology_ends_in_the_right_place(self) -> None:
        self.machine.move(b"a", 2)
        self.machine.subscriptions.assign()  # a node that lags behind still names the old owner
        self.answer_all()
        assert self.machine.restored == []
        assert not self.machine.subscriptions.is_settled
        self.machine.learn()
        self.answer_all()
        assert self.machine.nodes[2].subscribed == {b"a"}
        assert self.machine.subscriptions.is_settled

    def test_a_pattern_has_a_gap_when_any_node_is_lost(self) -> None:
        self.start(ClusterMachine(is_classic=True))
        pattern = Name(b"a", is_pattern=True)
        self.machine.known[b"a"] = 1
        joined = self.machine.subscriptions.want(pattern)
        self.answer_all()
        self.successResultOf(joined)
        assert pattern in self.machine.nodes[1].table.acknowledged
        self.machine.connect_or_lose(2)
        assert self.machine.interrupted == [b"a"]
        assert not self.machine.subscriptions.is_settled
        self.machine.subscriptions.assign()
        assert self.machine.restored == [b"a"]
        assert self.machine.subscriptions.is_settled

    def test_topics_of_calls_are_always_sharded(self) -> None:
        self.start(ClusterMachine(is_classic=True))
        names = [Name(b"service.S.rpc"), Name(b"RedisRPCClient.1"), Name(b"service.S.events")]
        self.machine.known.update((name.text, 0) for name in names)
        self.machine.owners.update(self.machine.known)
        self.machine.subscriptions.want(*names)
        sent = [operation for operation, _, _ in self.machine.nodes[0].waiting]
        assert sent == ["SSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE"]
        assert set(names) <= self.machine.subscriptions.wanted

    def test_a_pattern_is_refused(self) -> None:
        refused = self.machine.subscriptions.want(Name(b"a*", is_pattern=True))
        self.failureResultOf(refused, NotOnCluster)
