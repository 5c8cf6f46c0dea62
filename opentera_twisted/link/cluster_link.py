"""The link to a Redis Cluster: one `ServerLink` for each primary, and the owners of the slots.

Each command goes to the node that owns the slot of its first key. A node that refuses it because
the slot has moved has not executed it, so it is sent again within its timeout.

The link reads the topology from any node at the start, and when a node names another owner. It
reads it again after a lost connection or a cancelled subscription, until nothing is missing.

A node that froze, or that lost the other nodes, does not name its successor. So the link reads the
topology while a node leaves a probe unanswered, or reports that its cluster is down.

A former primary that became a replica accepts SPUBLISH and SSUBSCRIBE without a redirection. It
counts only its own subscribers, although the new primary delivers the message too. So the link
reads the topology when the epochs of a node change, and checks the role of a node that counts no
receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from math import inf
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import all_fired, gathered, keep_until_fired
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import (
    AuthenticationFailed,
    BusError,
    BusUnavailable,
    CommandFailed,
    ConnectionLost,
)
from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.back_off import BackOff
from opentera_twisted.link.cluster_errors import REDIRECTIONS, redirection
from opentera_twisted.link.cluster_subscriptions import (
    ClusterSubscriptions,
    is_always_sharded,
    is_call,
)
from opentera_twisted.link.connection import CONNECT_TIMEOUT, State
from opentera_twisted.link.factory import Probe
from opentera_twisted.link.link import COMMAND_TIMEOUT, MAX_WAITING, Link, Script
from opentera_twisted.link.protocol import Argument, CommandProtocol, Done, Review, fire
from opentera_twisted.link.server_link import ServerLink
from opentera_twisted.link.slots import command_slot, key_slot, slot_of_topic, topic_beside
from opentera_twisted.link.subscriptions import Name, SubscriptionTable
from opentera_twisted.link.topology import Address, Topology, epochs, is_down, parse_slots
from opentera_twisted.link.waiting import too_many

TOPOLOGY_TIMEOUT: Final = 2.0
"""Seconds until the link reads the topology from the next node."""

LONGEST_PAUSE: Final = 1.0
"""Longest pause in seconds before the topology is read again while something is missing."""

PROBE_INTERVAL: Final = 1.0
"""Seconds between the probes of a node."""

RESEND_AFTER: Final = 0.1
"""Seconds before a command is sent again that no node accepted."""

MOST_ROUTES: Final = 10_000
"""Maximum number of topics whose route the link remembers."""

PROMPT: Final = 0.25
"""Seconds within which a node's role also counts for messages sent just before the question.

A node that thaws after its replica took over calls itself primary for a moment. The probes find a
freeze within 2 seconds. So if a node without a late probe answers promptly, it was frozen for less
than 2.25 seconds. No replica takes over in that time if cluster-node-timeout is 2 seconds or more:
an election takes half a second longer.
"""

QUICK_REDIRECTIONS: Final = 3
"""Redirections that a command follows without a pause."""


@define(eq=False)
class _Route:
    """The route of commands to the owner of a slot.

    Attributes:
        slot: the slot; None for any node.
        node: its owner; None if unknown.
        review: handles errors of the node, and messages without a receiver.
        publish: command that publishes a message.
        checks_role: true if the link must ask for the node's role after the next message, which
            is a call to a topic that may have no server.
    """

    slot: int | None
    node: ServerLink | None
    review: Review | None
    publish: str = "PUBLISH"
    checks_role: bool = False


@define(eq=False)
class _Command:
    """A command on its way to the right node."""

    link: ClusterLink
    arguments: tuple[Argument, ...]
    slot: int | None
    done: Done
    timeout: float
    prefix: tuple[Argument, ...] = ()
    deadline: float = field(init=False)
    redirections: int = 0
    refusal: str = ""

    def __attrs_post_init__(self) -> None:
        self.deadline = self.link.clock.seconds() + self.timeout


class ClusterLink(Link):
    """Connections to all primaries of a cluster.

    Args:
        address: addresses of some nodes.
        reactor: reactor to connect with; intervals follow its `clock_of`.
        name: name at Redis: ``<name>.client`` and ``<name>.subscriber`` (CLIENT SETNAME).
        max_waiting: commands and calls that may wait for the link; further ones fail at once.
    """

    _log = Logger()

    subscriptions: ClusterSubscriptions

    def __init__(
        self, address: RedisAddress, *, reactor: Any, name: str, max_waiting: int = MAX_WAITING
    ) -> None:
        super().__init__(address, reactor=reactor, name=name, max_waiting=max_waiting)
        address.check_files()
        self.allows_patterns = self._is_classic = address.is_classic
        self.subscriptions = ClusterSubscriptions(
            self._table_of,
            lambda: [node.subscriptions for node in self._nodes.values()],
            self._begin_gap,
            self._end_gap,
            self._learn_soon,
            is_classic=address.is_classic,
        )
        self._topology = Topology()
        self._nodes: dict[Address, ServerLink] = {}
        self._suspects: set[tuple[Address, str]] = set()
        self._unreceived: dict[ServerLink, list[Done]] = {}
        self._routes: dict[Argument, _Route] = {}  # of topics, until a slot moves
        self._tracked: dict[Name, set[bytes]] = {}  # variables by the topic of their hash tag
        self._epochs: dict[Address, tuple[tuple[bytes, ...], bool]] = {}
        self._joined = 0  # links to nodes that were ever made
        self._leaving: set[Deferred[None]] = set()
        self._delayed: dict[_Command, IDelayedCall] = {}
        self._changed: Waiters[None] = Waiters()
        self._learning: Deferred[None] | None = None
        self._is_learning = False
        self._must_learn = False
        self._has_moved = False
        self._report: IDelayedCall | None = None
        self._was_ready = False
        self._restored: set[bytes] = set()
        self._markers: set[bytes] = set()

    @property
    def nodes(self) -> dict[Address, ServerLink]:
        """Links to the primaries, by host and port."""
        return dict(self._nodes)

    @property
    def slots(self) -> Mapping[Address, int]:
        """Number of slots of each primary."""
        return self._topology.counts

    @property
    def reconnects(self) -> dict[str, int]:
        """Number of reconnections of each kind of connection, to all nodes."""
        return {
            name: max(counts.connected - self._joined, 0)
            for name, counts in self.statistics.items()
        }

    @property
    def states(self) -> dict[str, State]:
        """State of the connections: ``ready`` if those to all nodes are ready."""
        return {
            role: next(
                (
                    node.states[role]
                    for node in self._nodes.values()
                    if not _is_role_ready(node, role)
                ),
                "ready" if self._topology.is_complete else self._state,
            )
            for role in self.statistics
        }

    @property
    def _state(self) -> State:
        """State of a link that does not know its nodes."""
        return "connecting" if self._was_started and not self._stopped else "idle"

    @property
    def waiting(self) -> int:
        """Number of commands that wait for the link."""
        return len(self._delayed) + sum(node.waiting for node in self._nodes.values())

    def start(self) -> None:
        """Read the topology, connect to all primaries, and keep the connections open."""
        self._stopped = False
        self._was_started = True
        self._learn_soon()

    async def stop(self) -> None:
        """Finish the sent commands, fail the waiting ones, and close all connections."""
        self._stopped = True
        self._was_ready = False
        stopped = BusUnavailable("the bus was stopped")
        for command in list(self._delayed):
            self._undelay(command)
            command.done(stopped)
        self.subscriptions.fail_joining(stopped)
        self.on_stopped.notify()
        self._waiting_for_ready.fail(stopped)
        self._changed.fail(stopped)
        if self._learning is not None:
            self._learning.cancel()
        nodes, self._nodes = self._nodes, {}
        self._routes.clear()
        for node in nodes.values():
            self._leave(node)
        try:
            await all_fired(self._leaving)
        finally:
            self._topology = Topology()
            self.subscriptions.assign()
            if self._report is not None:
                self._report.cancel()
                self._report_restored()

    def is_in_gap(self, topic: str) -> bool:
        """Return True if messages on a subscribed topic may be missed now."""
        return self.subscriptions.is_in_gap(topic.encode())

    def is_node_ready(self, name: str) -> bool:
        """Return True if the node of a key or a topic is ready, whatever its gaps."""
        if self._was_ready and not self.subscriptions.in_gap:
            return True  # all nodes are ready
        node = None if self._stopped else self._node_of(key_slot(name.encode()))
        return node is not None and node.is_ready

    def node_ready(self, name: str) -> Deferred[None]:
        """Wait until `is_node_ready` is true."""
        return self._when(partial(self.is_node_ready, name))

    def is_ready_for(self, topic: str, reply_topic: str) -> bool:
        """Return True if the nodes of both topics are ready, and replies would arrive."""
        return (
            self.is_node_ready(topic)
            and self.is_node_ready(reply_topic)
            and not self.is_in_gap(reply_topic)
        )

    def ready_for(self, topic: str, reply_topic: str) -> Deferred[None]:
        """Wait until `is_ready_for` is true."""
        return self._when(partial(self.is_ready_for, topic, reply_topic))

    def _when(self, is_true: Callable[[], bool]) -> Deferred[None]:
        """Wait until a condition on the nodes and gaps is true."""
        if is_true():
            return succeed(None)
        if (stopped := self.stopped_error()) is not None:
            return fail(stopped)
        if len(self._changed) >= self._max_waiting:
            return fail(too_many(self._max_waiting))
        return Deferred.fromCoroutine(self._changed_until(is_true))

    async def _changed_until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            await self._changed.wait()

    def execute(self, *arguments: Argument, timeout: float = COMMAND_TIMEOUT) -> Deferred[Any]:
        """Send a command to the node of its first key, when that is ready."""
        self.check_thread()
        if timeout is not COMMAND_TIMEOUT:  # identity: the default is valid
            check_timeout(timeout)
        result: Deferred[Any] = Deferred()
        self._send(arguments, partial(fire, result), timeout)
        return result

    def send(self, arguments: tuple[Argument, ...], done: Done) -> None:
        """Send a command without a Deferred."""
        self._send(arguments, done)

    def _send(
        self,
        arguments: tuple[Argument, ...],
        done: Done,
        timeout: float = COMMAND_TIMEOUT,
        prefix: tuple[Argument, ...] = (),
    ) -> None:
        if arguments[0] == "PUBLISH" and len(arguments) == 3:
            _, topic, payload = arguments
            route = self._routes.get(topic) or self._find_topic(topic)
            arguments = (route.publish, topic, payload)
        else:
            route = self._find_route(command_slot(arguments))
        node = route.node
        # A command sent directly has the default timeout (by identity), which `_review` assumes.
        if node is None or node.connection is None or prefix or timeout is not COMMAND_TIMEOUT:
            self._dispatch(_Command(self, arguments, route.slot, done, timeout, prefix))
            return
        node.connection.send(arguments, done, 1, b"", route.review)
        if route.checks_role:
            # If the call has no receiver, and the node is prompt, it fails after one round trip.
            route.checks_role = False
            self._check_role(node)

    def _find_route(self, slot: int | None) -> _Route:
        node = self._node_of(slot)
        return _Route(slot, node, None if node is None else partial(self._review, node))

    def _find_topic(self, topic: Argument) -> _Route:
        """Find the route of a topic's messages, and remember it until a slot moves."""
        route = self._find_route(slot_of_topic(topic))
        if not self._is_classic or is_always_sharded(topic):
            route.publish = "SPUBLISH"
        route.checks_role = is_call(topic)
        if route.node is not None:
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            self._routes[topic] = route
        return route

    def _review(
        self, node: ServerLink, arguments: tuple[Argument, ...], done: Done, reply: Any
    ) -> None:
        """Send a refused command elsewhere, or check the role of a node that counts no receiver."""
        if reply == 0 and arguments[0] == "SPUBLISH":
            if is_call(arguments[1]):
                self._routes.pop(arguments[1], None)
            self._check_role(node, done)
        elif isinstance(reply, CommandFailed) and reply.code in REDIRECTIONS:
            command = _Command(self, arguments, command_slot(arguments), done, COMMAND_TIMEOUT)
            self._refused(command, node, reply)
        else:
            done(reply)

    def _check_role(self, node: ServerLink, *done: Done) -> None:
        """Report that nobody received a message, if the node is still a primary."""
        if node in self._unreceived:
            self._unreceived[node] += done
        else:
            self._unreceived[node] = [*done]
            self._ask_role(node)

    def _ask_role(self, node: ServerLink) -> None:
        """Ask a node for its role once, for the replies before the question.

        The answer of a prompt node serves the replies after the question too.
        """
        before = len(self._unreceived[node])
        limit = -inf if self._suspects else self.clock.seconds() + PROMPT

        def checked(role: Any) -> None:
            waiting = self._unreceived.pop(node)
            outcome: Any = role if isinstance(role, ConnectionLost) else 0
            if isinstance(role, list) and role[0] == b"slave":
                self._learn_soon()
                outcome = ConnectionLost("the node became a replica; the message may have arrived")
            elif isinstance(role, list) and self.clock.seconds() > limit and waiting[before:]:
                self._unreceived[node] = waiting[before:]
                del waiting[before:]
                self._ask_role(node)
            for done in waiting:
                done(outcome)

        node.send(("ROLE",), checked)

    def run(self, script: Script, keys: Sequence[Argument], *arguments: Argument) -> Deferred[Any]:
        """Run a script at the node of its first key: see `Link.run`."""
        if script.keyspace is None:
            return super().run(script, keys, *arguments)
        there = _on_cluster(script, is_classic=self.address.is_classic)
        return super().run(there, script.keyspace.keys_on_cluster(keys), *arguments)

    def delete(self, names: Sequence[bytes]) -> Deferred[int]:
        """Delete variables, one command for each slot.

        Source: Redis command DEL.
        """
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(key_slot(name), []).append(name)
        deleted = gathered(self.execute("DEL", *some) for some in slots.values())
        return deleted.addCallback(sum)

    def subscribed(self, pattern: str) -> Deferred[set[bytes]]:
        """List the topics with a subscriber.

        With ``pubsub=classic``, only topics of calls are listed.

        Source: Redis command PUBSUB SHARDCHANNELS.
        """

        async def ask_all() -> set[bytes]:
            await self.ready().addTimeout(COMMAND_TIMEOUT, self.clock, self._late)
            found = await gathered(
                node.execute("PUBSUB", "SHARDCHANNELS", pattern) for node in self._nodes.values()
            )
            return {topic for topics in found for topic in topics}

        return Deferred.fromCoroutine(ask_all())

    def _late(self, _: object, seconds: float) -> None:
        raise self.unavailable(seconds)

    def track(self) -> Deferred[Any]:
        """Enable invalidation messages at each node."""
        return gathered(node.track() for node in self._nodes.values())

    def read_tracked(self, name: bytes) -> Deferred[bytes | None]:
        """Read a variable and track it at its node.

        A node does not report that a tracked variable's slot moves, but it cancels subscriptions.
        So this subscribes to a topic of the slot.
        """
        topic = Name(topic_beside(name), is_sharded=True)
        self._tracked.setdefault(topic, set()).add(name)
        self.subscriptions.want(topic).addErrback(lambda _: None)
        result: Deferred[Any] = Deferred()
        prefix = ("CLIENT", "CACHING", "YES")
        self._send(("GET", name), partial(fire, result), prefix=prefix)
        return result

    def untrack(self, name: bytes) -> None:
        """Forget a tracked variable."""
        topic = Name(topic_beside(name), is_sharded=True)
        names = self._tracked.get(topic, set())
        names.discard(name)
        if not names:
            self._tracked.pop(topic, None)
            self.subscriptions.drop(topic)

    def _dispatch(self, command: _Command, address: Address | None = None) -> None:
        """Send a command to the owner of its slot, or to the node that another one has named."""
        if (stopped := self.stopped_error()) is not None:
            command.done(stopped)
            return
        left = command.deadline - self.clock.seconds()
        if left <= 0:
            command.done(self._undelivered(command))
            return
        node = self._node_of(command.slot) if address is None else self._node(address)
        if node is None:  # until the topology is known
            self._delay(command, left)
            return
        done = partial(self._replied, command, node)
        if node.connection is None:
            waiting = node.execute(*command.arguments, timeout=left)
            waiting.addCallbacks(done, lambda failure: done(failure.value))
            return
        # The prefix applies to the next command of the connection, so they are sent together.
        prefix = command.prefix if address is None else ("ASKING",)
        if prefix:
            node.send(prefix, lambda _: None)
        node.send(command.arguments, done)

    def _replied(self, command: _Command, node: ServerLink, reply: Any) -> None:
        if isinstance(reply, CommandFailed):
            self._refused(command, node, reply)
        elif (
            isinstance(reply, BusUnavailable)
            and not self._stopped
            and node not in self._nodes.values()
        ):
            self._dispatch(command)  # it waited for a node that has left the cluster
        elif reply == 0 and command.arguments[0] == "SPUBLISH":
            self._check_role(node, command.done)
        else:
            command.done(reply)

    def _refused(self, command: _Command, node: ServerLink, error: CommandFailed) -> None:
        node_host = node.address.hosts[0][0]
        reaction = redirection(error, node_host)
        if reaction is None:
            command.done(error)
            return
        command.redirections += 1
        command.refusal = error.reply
        target = None
        if reaction.kind == "moved" and reaction.slot is not None and reaction.address is not None:
            self._move(reaction.slot, reaction.address)
        elif reaction.kind == "ask" and reaction.address is not None:
            asked_node = self._node(reaction.address)
            target = reaction.address if asked_node.connection else None
        else:
            self._learn_soon()
        is_known = target is not None or reaction.kind == "moved"
        if command.redirections > QUICK_REDIRECTIONS or not is_known:
            self._delay(command, RESEND_AFTER)
        else:
            self._dispatch(command, target)

    def _delay(self, command: _Command, seconds: float) -> None:
        """Send a command again after a pause, or when the topology changes."""
        if len(self._delayed) >= self._max_waiting:
            command.done(too_many(self._max_waiting))
            return
        left = command.deadline - self.clock.seconds()
        pause = max(min(seconds, left), 0)
        self._delayed[command] = self.clock.callLater(pause, self._resend, command)

    def _resend(self, command: _Command) -> None:
        del self._delayed[command]
        self._dispatch(command)

    def _dispatch_delayed(self) -> None:
        """Send all delayed commands again."""
        for command in list(self._delayed):
            if command in self._delayed:  # unless the callback of another has stopped the link
                self._undelay(command)
                self._dispatch(command)

    def _undelay(self, command: _Command) -> None:
        call = self._delayed.pop(command)
        if call.active():
            call.cancel()

    def _undelivered(self, command: _Command) -> BusUnavailable:
        if not command.refusal:
            return self.unavailable(command.timeout)
        return BusUnavailable(
            f"no node of {self.address} accepted {command.arguments[0]!s} for "
            f"{command.timeout:g} seconds: {command.refusal}",
            seconds=command.timeout,
        )

    def _node_of(self, slot: int | None) -> ServerLink | None:
        """Return the link to the owner of a slot; to a connected node for None."""
        if slot is None:
            nodes = list(self._nodes.values())
            return next((node for node in nodes if node.connection), nodes[0] if nodes else None)
        address = self._topology.owners[slot]
        return None if address is None else self._nodes.get(address)

    def _table_of(self, topic: bytes) -> SubscriptionTable | None:
        node = self._node_of(key_slot(topic))
        return None if node is None else node.subscriptions

    def _node(self, address: Address) -> ServerLink:
        """Return the link to a node, or make and start it."""
        node = self._nodes.get(address)
        if node is None:
            self._joined += 1
            node = self._nodes[address] = ServerLink(
                self.address.node(*address),
                reactor=self.reactor,
                name=self._name,
                max_waiting=self._max_waiting,
                statistics=self.statistics,
                probes={
                    "client": self._probe(address, "client", "CLUSTER", "INFO"),
                    "subscriber": self._probe(address, "subscriber", "PING"),
                },
                is_node=True,
            )
            self.subscriptions.observe(node.subscriptions)
            # The same lists, to pass each message on without a detour.
            node.on_message = self.on_message
            node.on_read = self.on_read
            node.on_invalidated = self.on_invalidated
            node.on_interrupted.append(partial(self._node_interrupted, node))
            node.on_ready.append(self._notify_readiness)
            node.on_lost.append(partial(self._node_lost, node))
            node.on_refused.append(partial(self._node_lost, node))
            node.start()
            self._notify_readiness()
        return node

    def _probe(self, address: Address, role: str, *command: str) -> Probe:
        return Probe(command, PROBE_INTERVAL, partial(self._probed, (address, role)))

    def _probed(self, connection: tuple[Address, str], reply: Any) -> None:
        """Read the topology while a node is silent or isolated, and when its epochs change."""
        address, _ = connection
        if address not in self._nodes:
            return
        if reply is None or is_down(reply):
            self._suspects.add(connection)
            self._learn_soon()
            return
        self._suspects.discard(connection)
        if read := epochs(reply):
            before, had_changed = self._epochs.get(address, ((), False))
            self._epochs[address] = read, read != before
            # Twice, because the other nodes may not have heard of the change yet.
            if read != before or had_changed:
                self._learn_soon()

    def _leave(self, node: ServerLink) -> None:
        """Close the connections to a node that serves no slot any more."""
        node.on_message = type(node.on_message)()
        node.on_read = type(node.on_read)()
        node.on_invalidated = type(node.on_invalidated)()
        node.on_interrupted = type(node.on_interrupted)()
        keep_until_fired(Deferred.fromCoroutine(node.stop()), self._leaving)

    def _node_interrupted(self, node: ServerLink, _topics: object) -> None:
        self._interrupted(node, node.subscriber_before)

    def _interrupted(self, node: ServerLink, before: State) -> None:
        """Begin the gap of a lost subscriber connection, but not at each failed reconnection."""
        if before in {"restoring", "ready"}:
            self.subscriptions.interrupted(node.subscriptions)

    def _node_lost(self, node: ServerLink, cause: Failure) -> None:
        if node not in self._nodes.values() or self._stopped:
            return
        self._note(cause, "a node of {address} is lost, {node}: {cause}", node=str(node.address))
        self._notify_readiness(cause)
        self.on_refused.notify(cause)
        self._learn_soon()

    def _note(self, cause: Failure, message: str, **details: object) -> None:
        """Keep and log the cause of an outage, once and not at each attempt."""
        text = cause.getErrorMessage()
        self._last_error = cause.value
        if text != self._last_cause:
            self._last_cause = text
            log = self._log.error if cause.check(AuthenticationFailed) else self._log.warn
            log(message, cause=text, address=self.address, **details)

    def _notify_readiness(self, cause: Failure | None = None) -> None:
        """Notify the observers if all nodes have become ready, or one is lost."""
        self._changed.fire(None)
        is_ready = self.is_ready
        if is_ready and not self._was_ready:
            self._was_ready = True
            self._last_cause = ""
            self._last_error = None
            self._log.info("link to Redis at {address} is ready", address=self.address)
            self._waiting_for_ready.fire(None)
            self.on_ready.notify()
        elif self._was_ready and not is_ready and not self._stopped:
            self._was_ready = False
            self.on_lost.notify(cause or Failure(BusUnavailable("a node joined the cluster")))

    def _begin_gap(self, topics: frozenset[bytes]) -> None:
        self.on_interrupted.notify(topics)

    def _end_gap(self, topic: bytes) -> None:
        """Collect the topics of one turn of the reactor, and report the end of their gap."""
        if not self._restored:
            self._report = self.clock.callLater(0, self._report_restored)
        self._restored.add(topic)

    def _report_restored(self) -> None:
        self._report = None
        restored, self._restored = self._restored, set()
        self._changed.fire(None)
        self.gaps += 1
        self.on_resumed.notify(frozenset(restored))

    def _move(self, slot: int, address: Address) -> None:
        """Record an owner that a node has named."""
        if self._topology.owners[slot] != address:
            self._topology.move(slot, address)
            self._routes.clear()
            self._has_moved = True
            self._node(address)
            self.subscriptions.assign()
        self._learn_soon()

    def _learn_soon(self) -> None:
        """Read the topology now, or again after the current attempt."""
        self._must_learn = True
        if not self._is_learning and not self._stopped:
            self._is_learning = True
            self._learning = Deferred.fromCoroutine(self._learn())
            self._learning.addBoth(self._learned)

    def _learned(self, result: Failure | None) -> None:
        self._is_learning = False
        if result is not None:
            result.trap(CancelledError)

    async def _learn(self) -> None:
        """Read the topology until nothing is missing."""
        back_off, cause = BackOff(), None
        # An observer may stop the link while this coroutine runs, which cancels nothing then.
        while not self._stopped and (self._must_learn or not self._is_complete):
            if cause is not None:
                await deferLater(self.clock, min(back_off.delay(cause), LONGEST_PAUSE))
            cause = Failure(BusUnavailable("something is missing"))
            self._must_learn = False
            try:
                topology = await self._ask_any()
            except CancelledError:
                raise
            except BusError as error:
                cause = Failure(error)
                self._note(cause, "no topology of {address}, trying again: {cause}")
                self.on_refused.notify(cause)
            else:
                self._apply(topology)

    @property
    def _is_complete(self) -> bool:
        return self.is_ready and self.subscriptions.is_settled

    @property
    def is_ready(self) -> bool:
        """True if the topology is known and the connections to all nodes are ready."""
        return (
            not self._stopped
            and self._topology.is_complete
            and all(node.is_ready for node in self._nodes.values())
        )

    async def _ask_any(self) -> Topology:
        """Read the topology from the first node that knows it.

        A node that lost the others, or waits for a replica to take over, is a last resort.

        Raises:
            BusUnavailable: no node does.
        """
        known = sorted(self._nodes, key=self._is_doubtful)
        causes: dict[str, None] = {}
        refused: AuthenticationFailed | None = None
        doubtful: Topology | None = None
        for host, port in dict.fromkeys([*known, *self.address.hosts]):
            if doubtful is not None and self._is_doubtful((host, port)):
                continue
            address = self.address.node(host, port)
            asking = Deferred.fromCoroutine(self._ask(address))
            try:
                topology, is_certain = await asking.addTimeout(TOPOLOGY_TIMEOUT, self.clock)
                if is_certain:
                    return topology
                doubtful = doubtful or topology
            except CancelledError:
                raise
            except DeferredTimeout:
                causes[f"{address} did not answer within {TOPOLOGY_TIMEOUT:g} seconds"] = None
            except BusError as error:
                causes[str(error)] = None
                refused = error if isinstance(error, AuthenticationFailed) else refused
            except Exception as error:  # noqa: BLE001 (the next node may know)
                causes[f"{address}: {error}"] = None
            if self._stopped:  # a cancelled connection fails with an error of its own
                raise CancelledError
        if doubtful is not None:
            return doubtful
        raise refused or BusUnavailable("; ".join(causes))

    def _is_doubtful(self, address: Address) -> bool:
        """Return True for a node that is known to be down, silent or isolated."""
        node = self._nodes.get(address)
        return node is not None and (
            not node.is_ready or any((address, role) in self._suspects for role in node.states)
        )

    async def _ask(self, address: RedisAddress) -> tuple[Topology, bool]:
        """Read the topology from one node over a connection of its own.

        Returns:
            The topology, and True if the node reaches the cluster's majority.

        Source: Redis commands CLUSTER SLOTS and CLUSTER INFO.
        """
        lost: list[Failure] = []
        factory = Factory.forProtocol(partial(CommandProtocol, lost.append))
        factory.noisy = False
        protocol: Any = await address.endpoint(self.reactor, CONNECT_TIMEOUT).connect(factory)
        try:
            await self.address.login.log_in(protocol, f"Redis at {address}")
            state = protocol.execute_command("CLUSTER", "INFO")
            state.addErrback(lambda _: None)  # optional
            reply = await protocol.execute_command("CLUSTER", "SLOTS")
            is_certain = not is_down(await state)
        except CommandFailed as error:
            if "cluster support disabled" in error.reply:
                raise BusUnavailable(
                    f"Redis at {address} is not a cluster; use the URL {address}"
                ) from None
            raise
        except ConnectionLost as error:
            cause = lost[0].getErrorMessage() if lost else str(error)
            raise BusUnavailable(f"{address}: {cause}") from None
        finally:
            protocol.transport.abortConnection()
        topology = parse_slots(reply, address.hosts[0][0])
        if not topology.primaries:
            raise BusUnavailable(f"the cluster of {address} serves no slot yet")
        return topology, is_certain

    def _apply(self, topology: Topology) -> None:
        """Connect to new primaries, move topics to the new owners, and leave other nodes."""
        has_moved = self._has_moved or topology != self._topology
        self._has_moved = False
        self._topology = topology
        self._routes = {} if has_moved else self._routes
        for address in topology.primaries:
            self._node(address)
            if self._stopped:  # by an observer
                return
        silent = {address for address, _ in self._suspects}
        gone = {
            address: self._nodes.pop(address) for address in self._nodes.keys() - topology.primaries
        }
        self._suspects = {suspect for suspect in self._suspects if suspect[0] in self._nodes}
        self._epochs = {name: read for name, read in self._epochs.items() if name in self._nodes}
        if self.address.is_classic:
            self._mark_nodes()
        for node in gone.values():
            self._interrupted(node, node.states["subscriber"])
        if has_moved or not self.subscriptions.is_settled:
            self.subscriptions.assign()
        for address, node in gone.items():
            if address in silent:
                node.abandon("a replica took over from the silent or isolated node")
            self._leave(node)
        if not topology.is_complete:
            cause = Failure(BusUnavailable("no node serves some of the slots"))
            self._note(cause, "the cluster of {address} is incomplete: {cause}")
        self._notify_readiness()
        self._dispatch_delayed()
        if has_moved:
            self.on_invalidated.notify(None)  # read the watched variables at their new nodes

    def _mark_nodes(self) -> None:
        """Follow a sharded topic at each node, which the node cancels when its slot leaves it.

        A node accepts each classic message, even after it has left the cluster.
        """
        before, self._markers = self._markers, self._topology.markers(self._markers)
        for topic in before - self._markers:
            self.subscriptions.drop(Name(topic, is_sharded=True))
        for topic in self._markers - before:
            wanted = self.subscriptions.want(Name(topic, is_sharded=True))
            wanted.addErrback(lambda _: None)


@cache
def _on_cluster(script: Script, *, is_classic: bool) -> Script:
    assert script.keyspace is not None  # noqa: S101 (checked by the caller)
    return Script(script.keyspace.text_on_cluster(script.text, is_classic=is_classic))


def _is_role_ready(node: ServerLink, role: str) -> bool:
    return node.states[role] == "ready"
