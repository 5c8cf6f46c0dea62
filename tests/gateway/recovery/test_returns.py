"""Returns to the same gateway and to another one."""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import topics
from opentera_twisted.errors import ConnectionLost
from opentera_twisted.gateway import Gateway, GatewayLimits, protocol
from opentera_twisted.gateway.recovery import handover, recovery
from opentera_twisted.gateway.recovery.peers import GATEWAYS
from opentera_twisted.gateway.recovery.tokens import TOKENS
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.holders import REPORTS
from opentera_twisted.messages import DatabaseEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack
from tests.helpers.support import GUARD, UUID, message, turn, until
from tests.helpers.websockets import HandshakeFailed, connect, connect_bytes, handshake, leave

from .case import RecoveryTestCase
from .client import Client, name_of

OTHER = "99999999-2222-3333-4444-555555555555"


class SameGatewayTests(RecoveryTestCase):
    async def test_a_login_gets_a_token_before_all_events(self) -> None:
        _, port = await self.gateway(recovery_window=30)
        client = await self.client(port)
        assert client.first.keys() == {"token", "window", "recovered"}
        assert len(client.first["token"]) == 43
        assert client.first["window"] == 30
        self.publish("a", "b")
        assert await client.until(2) == ["a", "b"]

    async def test_a_return_gets_what_was_missed_before_what_is_new(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        self.publish("a", "b")
        await client.until(2)
        token = client.first["token"]
        await client.drop()
        await self.is_held(gate)
        self.publish("c", "d")
        assert await client.come_back(port)
        assert client.first["missed"] == 2
        assert client.first["token"] != token
        self.publish("e")
        assert await client.until(3) == ["a", "b", "c", "d", "e"]
        await client.drop()
        await self.is_held(gate)
        assert await client.come_back(port)
        assert client.first["missed"] == 0
        assert gate.recovery.outcomes == {"recovered": 2}
        assert gate.recovery.replayed == 2

    async def test_the_old_websocket_of_a_return_is_closed(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        self.publish("a")
        await client.until(1)
        before = client.websocket
        assert await client.come_back(port)
        assert (await before.closed)[0] == 1001
        self.publish("b")
        assert await client.until(1) == ["a", "b"]
        assert gate.clients["user"] == 1

    async def test_a_return_leaves_other_clients_due_in_order(self) -> None:
        gate, port = await self.gateway()
        client, _ = await self.client(port), await self.client(port)
        assert await client.come_back(port)  # its old websocket is still open
        due = list(gate.recovery._attached.values())
        assert due == sorted(due)

    async def test_a_token_serves_once(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        path = client.way_back()
        await client.drop()
        await self.is_held(gate)
        await client.come_back(port)
        await self.has_tokens(1)
        client.first["token"] = path.partition("recover=")[2].partition("&")[0]
        with pytest.raises(HandshakeFailed, match="403"):
            await client.come_back(port)


class OtherGatewayTests(RecoveryTestCase):
    async def test_a_return_elsewhere_gets_what_was_missed(self) -> None:
        old, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        self.publish("a", "b")
        await client.until(2)
        await client.drop()
        await self.is_held(old)
        self.publish("c", "d")
        assert await client.come_back(second)
        assert client.first["missed"] == 2
        self.publish("e")
        assert await client.until(3) == ["a", "b", "c", "d", "e"]
        assert old.recovery.held == 0
        assert new.recovery.outcomes == {"recovered": 1}


class RefusedTests(RecoveryTestCase):
    async def refuse(self, client: Client, port: int, path: str, status: str) -> None:
        with pytest.raises(HandshakeFailed, match=status):
            await connect(port, path, protocols=[RECOVERY])

    async def test_a_forged_token_is_refused_and_counted(self) -> None:
        gate, port = await self.gateway(limits=GatewayLimits(failed_logins_per_minute=4))
        client = await self.client(port)
        for token in ("", "x", "A" * 43, "*" * 43):
            await self.refuse(client, port, f"/wss/user?recover={token}&received=0", "403")
        assert gate.logins["refused"] == 4
        await self.refuse(client, port, client.way_back(), "429")
        keys = await self.keys_of_recovery()
        assert keys
        assert not any(client.first["token"].encode() in key for key in keys)

    async def test_a_forged_value_of_a_token_is_refused(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        other = await self.client(port, uuid=OTHER)
        path, name = (
            client.way_back(),
            TOKENS + gate.recovery._tokens.digest_of(client.first["token"]),
        )
        marker = gate.recovery._handovers.marker
        identity = {"kind": "user", "uuid": UUID, "name": "", "topics": []}
        for found in (
            f"{marker}\n",
            f"{marker}\n5",
            f"{marker}\n{{}}",
            f"{marker}\n{'[' * 100_000}",
            f"{marker}\n{json.dumps({**identity, 'topics': 5})}",
            f"{marker}\n{json.dumps({**identity, 'uuid': 5})}",
            f"{marker}\n{json.dumps({**identity, 'more': 5})}",
            f"{marker}\n{json.dumps({**identity, 'name': 5})}",
            f"{marker}\n{json.dumps({**identity, 'kind': 'device'})}",
            f"{marker}\n{json.dumps({**identity, 'topics': [5]})}",
            f"module.A.messages\n{json.dumps(identity)}",
        ):
            self.redis.set(name, f"user {found}")
            await self.refuse(client, port, path, "403")
        self.publish("a", uuid=OTHER)
        assert await other.until(1) == ["a"]

    async def test_a_token_of_another_kind_is_refused_and_kept(self) -> None:
        _, port = await self.gateway()
        client = await self.client(port)
        path = client.way_back()
        await self.refuse(client, port, path.replace("user", "device"), "403")
        assert await client.come_back(port)

    async def test_an_invalid_count_is_refused_and_the_token_kept(self) -> None:
        _, port = await self.gateway()
        client = await self.client(port)
        for received in ("", "-1", "x", "1e3", "٣", "1_0", "99999999999999999999"):
            await self.refuse(client, port, client.way_back(received), "400")
        assert await client.come_back(port)

    async def test_a_return_without_the_subprotocol_is_refused(self) -> None:
        _, port = await self.gateway()
        client = await self.client(port)
        with pytest.raises(HandshakeFailed, match="400"):
            await connect(port, client.way_back())
        assert await client.come_back(port)

    async def test_an_expired_token_is_refused(self) -> None:
        gate, port = await self.gateway(recovery_window=0.2)
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        await self.is_held(gate, 0)
        await until(self.keys_of_recovery, lambda keys: not keys)
        await self.refuse(client, port, client.way_back(), "403")

    async def test_a_token_is_lost_with_the_data_of_redis(self) -> None:
        _, port = await self.gateway()
        client = await self.client(port)
        self.redis.flushdb()
        self.publish("a")
        assert await client.until(1) == ["a"]
        await self.refuse(client, port, client.way_back(), "403")

    async def test_a_gateway_without_a_window_offers_no_recovery(self) -> None:
        _, port = await self.gateway(recovery_window=0)
        key = await self.keys.issue("user", UUID)
        await self.refuse(Client(), port, f"/wss/user?id={key}", "400")
        plain = await connect(port, f"/wss/user?id={key}", protocols=[RECOVERY, "own"])
        assert plain.websocket_protocol_in_use == "own"

    async def test_clients_without_recovery_get_unchanged_bytes(self) -> None:
        _, port = await self.gateway()
        asking = await self.client(port)
        key = await self.keys.issue("user", UUID)
        plain = await connect(port, f"/wss/user?id={key}")
        self.publish("a")
        await asking.until(1)
        assert await plain.messages.wait(1) == asking.websocket.messages.items[1:]

    async def test_one_of_two_simultaneous_returns_wins(self) -> None:
        first, one = await self.gateway()
        _, two = await self.gateway()
        for _ in range(10):
            client = await self.client(one)
            self.publish("a")
            await client.until(1)
            before = first.recovery.held
            await client.drop()
            await self.is_held(first, before + 1)
            self.publish("b")
            path = client.way_back()
            returns = [connect(port, path, protocols=[RECOVERY]) for port in (one, two) * 3]
            results = await DeferredList(returns, consumeErrors=True)
            (winner,) = [found for is_open, found in results if is_open]
            texts = await winner.messages.wait(2)
            assert json.loads(texts[0])["recovery"]["recovered"] is True
            assert name_of(texts[1]) == "b"
            await leave(winner)


class NotRecoveredTests(RecoveryTestCase):
    async def test_a_count_beyond_what_was_sent_recovers_nothing(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        other = await self.client(port)
        self.publish("a")
        await client.until(1)
        await client.drop()
        for number, received in enumerate((2, 999_999_999_999_999), start=1):
            websocket = await connect(port, client.way_back(received), protocols=[RECOVERY])
            (first,) = await websocket.messages.wait(1)
            client.first = json.loads(first)["recovery"]
            assert client.first["recovered"] is False
            assert gate.recovery.outcomes == {"beyond": number}
        assert await other.until(1) == ["a"]

    async def test_more_missed_bytes_than_are_kept_recover_nothing(self) -> None:
        gate, port = await self.gateway(recovery_buffer=1000)
        client, witness = await self.client(port), await self.client(port)
        await client.drop()
        await self.is_held(gate)
        self.publish(*"abc", "x" * 500)
        await witness.until(4)
        assert not await client.come_back(port)
        assert "missed" not in client.first
        assert gate.recovery.outcomes == {"overflow": 1}
        self.publish("d")
        assert await client.until(1) == ["d"]
        await client.drop()
        await self.is_held(gate)
        self.publish("e")
        assert await client.come_back(port)
        assert await client.until(1) == ["d", "e"]

    async def test_a_gap_of_the_link_closes_clients_and_recovers_nothing(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        away = await self.client(port, uuid=OTHER)
        await away.drop()
        await self.is_held(gate)
        self.redis.client_kill_filter(_type="pubsub")
        assert (await client.websocket.closed)[0] == 1012
        assert not await client.come_back(port)
        assert not await away.come_back(port)
        assert gate.recovery.outcomes == {"gap": 2}
        self.publish("a")
        assert await client.until(1) == ["a"]

    async def test_a_client_that_opens_within_a_gap_recovers_nothing(self) -> None:
        bus = await self.bus()
        gate, port = await self.gateway(bus)
        stored: Deferred[None] = Deferred()
        interrupted: Deferred[None] = Deferred()
        store = gate.recovery._tokens.store

        def store_until_the_gap(*arguments: Any) -> Deferred[None]:
            store(*arguments).chainDeferred(stored)
            return interrupted

        def is_interrupted(_topics: object) -> None:
            if not interrupted.called:
                interrupted.callback(None)

        self.patch(gate.recovery._tokens, "store", store_until_the_gap)
        opening = Deferred.fromCoroutine(self.client(port))
        await stored
        bus.link.on_interrupted.append(is_interrupted)
        self.redis.client_kill_filter(_type="pubsub")
        client = await opening
        assert (await client.websocket.closed)[0] == 1012
        await bus.connected()  # other nodes of a cluster may be back later
        assert not await client.come_back(port)

    async def test_a_marker_within_a_gap_recovers_nothing(self) -> None:
        old, first = await self.gateway()
        bus = await self.bus()
        new, second = await self.gateway(bus)
        client = await self.client(first)
        await client.drop()
        await self.is_held(old)
        gaps = [True]  # the marker's topic is subscribed again before the client's topics
        self.patch(bus.link, "is_in_gap", lambda _: bool(gaps) and gaps.pop())
        assert not await client.come_back(second)
        assert new.recovery.outcomes == {"gap": 1}

    async def test_a_dead_gateway_recovers_nothing(self) -> None:
        bus = await self.bus()
        old, first = await self.gateway(bus)
        new, second = await self.gateway()
        client = await self.client(first)
        old.recovery.stop()
        await bus.stopService()
        assert not await client.come_back(second)
        assert new.recovery.outcomes == {"gone": 1}

    async def test_a_silent_gateway_recovers_nothing(self) -> None:
        old, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        self.patch(old.recovery._handovers, "_answer", lambda *_: None)
        self.patch(handover, "TIMEOUT", 0.2)
        assert not await client.come_back(second)
        assert new.recovery.outcomes == {"timeout": 1}
        self.publish("a")
        assert await client.until(1) == ["a"]


class InterruptedReturnTests(RecoveryTestCase):
    """The client goes away while the gateway waits for its missed events."""

    async def leave_early(
        self, client: Client, old: Gateway, new: Gateway, port: int
    ) -> list[tuple[Any, ...]]:
        """Return to the new gateway, and go away; keep back the answers of the old one."""
        answers: list[tuple[Any, ...]] = []
        asked: Deferred[None] = Deferred()

        def keep(*arguments: Any) -> None:
            answers.append(arguments)
            asked.callback(None)

        self.patch(old.recovery._handovers, "_answer", keep)
        await self.give_up(client, new, port, asked)
        return answers

    async def give_up(
        self, client: Client, new: Gateway, port: int, reached: Deferred[None]
    ) -> None:
        """Return to the new gateway, and go away when the return has reached a point."""
        returning = connect(port, client.way_back(), protocols=[RECOVERY])
        returning.addErrback(lambda failure: failure.trap(HandshakeFailed))
        await reached
        for connection in list(new.factory.connections):
            connection.transport.abortConnection()
        await returning

    async def interrupt(self, client: Client, old: Gateway, new: Gateway, port: int) -> None:
        """Return to the new gateway, and go away before the old one answers."""
        answer = old.recovery._handovers._answer
        answers = await self.leave_early(client, old, new, port)
        assert new.recovery.held == 0
        for arguments in answers:
            answer(*arguments)
        await self.is_held(new)

    async def test_a_gateway_that_stops_waits_for_no_answer(self) -> None:
        self.patch(handover, "TIMEOUT", GUARD)
        old, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        await self.leave_early(client, old, new, second)
        await new.stopService()
        assert new.recovery.outcomes == {"timeout": 1}

    async def test_a_return_that_a_stop_ends_follows_no_topics(self) -> None:
        _, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        turning: Deferred[None] = Deferred()

        def turn_never() -> Deferred[None]:
            turning.callback(None)
            return Deferred()

        self.patch(new.recovery, "_turn", turn_never)
        await self.give_up(client, new, second, turning)
        await new.stopService()
        assert not new._fanout._followings

    async def test_the_next_return_gets_all_missed_events(self) -> None:
        old, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        self.publish("a", "b")
        await client.until(2)
        await client.drop()
        await self.is_held(old)
        self.publish("c", "d", "e")
        await self.interrupt(client, old, new, second)
        assert await client.come_back(second)
        assert client.first["missed"] == 3
        self.publish("f")
        assert await client.until(4) == ["a", "b", "c", "d", "e", "f"]

    async def test_the_next_return_reports_lost_events(self) -> None:
        old, first = await self.gateway(recovery_buffer=1)
        new, second = await self.gateway()
        client = await self.client(first)
        await client.drop()
        await self.is_held(old)
        self.publish("a")
        await self.is_missed(old, 1)
        await self.interrupt(client, old, new, second)
        self.publish("b")
        assert not await client.come_back(second)


class LostReplyTests(RecoveryTestCase):
    """The client, or the gateway, does not get the reply to a return."""

    async def break_early(self, client: Client, port: int) -> str:
        """Return, and break the connection before the pong; give the next token."""
        header = f"Sec-WebSocket-Protocol: {RECOVERY}".encode()
        while True:
            websocket = await connect_bytes(port)
            websocket.send(handshake(client.way_back().encode(), header))
            head = await websocket.until(b"\r\n\r\n")
            if b" 101 " in head:
                break
            assert b" 503 " in head, head  # Redis has not freed the token yet
            await websocket.closed
        await websocket.until(b"}}")
        token = websocket.received.partition(b'"token": "')[2][:43].decode()
        websocket.drop()
        await websocket.closed
        return token

    async def away(self) -> tuple[Gateway, int, Gateway, int, Client]:
        """Return two gateways and a client that has missed an event at the first."""
        old, first = await self.gateway()
        new, second = await self.gateway()
        client = await self.client(first)
        self.publish("a")
        await client.until(1)
        await client.drop()
        await self.is_held(old)
        self.publish("b")
        await self.is_missed(old, 2)
        return old, first, new, second, client

    async def test_a_client_without_the_next_token_uses_the_same_one(self) -> None:
        old, first, new, second, client = await self.away()
        for gate, port in ((old, first), (new, second), (new, second), (old, first)):
            await self.break_early(client, port)
            await self.is_held(gate)
        self.publish("c")
        assert await client.come_back(first)
        assert client.first["missed"] == 2
        self.publish("d")
        assert await client.until(3) == ["a", "b", "c", "d"]
        await self.has_tokens(1)
        assert old.recovery.held == new.recovery.held == 0

    async def test_the_next_token_invalidates_the_previous_one(self) -> None:
        _, first, new, second, client = await self.away()
        previous = client.way_back()
        following = await self.break_early(client, second)
        await self.is_held(new)
        self.publish("c")
        path = f"/wss/user?recover={following}&received=1"
        websocket = await connect(first, path, protocols=[RECOVERY])
        texts = await websocket.messages.wait(2)
        assert [name_of(text) for text in texts[1:]] == ["c"]
        await self.has_tokens(1)
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(second, previous, protocols=[RECOVERY])
        await leave(websocket)

    async def test_a_lost_reply_of_redis_keeps_the_token(self) -> None:
        old, first, _, _, client = await self.away()
        link = old.recovery._tokens._link

        class LosesReplies:
            clock = link.clock

            def run(self, *arguments: Any) -> Deferred[Any]:
                old.recovery._tokens._link = link
                return link.run(*arguments).addCallback(lambda _: self.lose())

            def lose(self) -> None:
                raise ConnectionLost("the link was lost")

        old.recovery._tokens._link = cast("Any", LosesReplies())
        with pytest.raises(HandshakeFailed, match="503"):
            await client.come_back(first)
        assert await client.come_back(first)
        assert await client.until(1) == ["a", "b"]

    async def test_a_return_during_another_one_is_refused_for_now(self) -> None:
        old, first, _, second, client = await self.away()
        began: Deferred[None] = Deferred()
        turned: Deferred[None] = Deferred()

        def turn_late() -> Deferred[None]:
            began.callback(None)
            return turned

        self.patch(old._admission, "_turn", turn_late)
        returning = Deferred.fromCoroutine(client.come_back(first))
        await began
        with pytest.raises(HandshakeFailed, match="503"):
            await connect(second, client.way_back(), protocols=[RECOVERY])
        turned.callback(None)
        assert await returning


LETTERS = ("abcdefab-2222-3333-4444-555555555555", "ABCDEFAB-2222-3333-4444-555555555555")
"""Two spellings of one UUID."""


class EndsTests(RecoveryTestCase):
    async def test_a_client_that_closes_cleanly_is_forgotten(self) -> None:
        gate, port = await self.gateway()
        client = await self.client(port)
        client.websocket.sendClose(1000)
        await client.websocket.closed
        with pytest.raises(HandshakeFailed, match="403"):
            await client.come_back(port)
        assert gate.recovery.held == gate.recovery.attached == 0

    async def test_the_disconnect_command_ends_recovery(self) -> None:
        gate, port = await self.gateway()
        bus = await self.bus()
        client = await self.client(port)
        assert await bus.presence.disconnect("user", UUID) == 1
        assert (await client.websocket.closed)[0] == 4000
        with pytest.raises(HandshakeFailed, match="403"):
            await client.come_back(port)
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        assert await bus.presence.disconnect("user", UUID) == 1
        await self.is_held(gate, 0)
        with pytest.raises(HandshakeFailed, match="403"):
            await client.come_back(port)

    async def test_a_command_in_another_case_ends_recovery(self) -> None:
        first, port = await self.gateway()
        second, second_port = await self.gateway()
        bus = await self.bus()
        for of_client, of_command in (LETTERS, LETTERS[::-1]):
            client = await self.client(port, uuid=of_client)
            await client.drop()
            await self.is_held(first)
            assert await client.come_back(second_port)
            await client.drop()
            await self.is_held(second)
            assert await bus.presence.disconnect("user", of_command)
            await self.is_held(second, 0)
            with pytest.raises(HandshakeFailed, match="403"):
                await client.come_back(second_port)

    async def test_the_disconnect_command_ends_a_return_under_way(self) -> None:
        gate, port = await self.gateway()
        bus = await self.bus()
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        began: Deferred[None] = Deferred()
        turned: Deferred[None] = Deferred()

        def wait_for_the_command() -> Deferred[None]:
            began.callback(None)
            return turned

        self.patch(gate._admission, "_turn", wait_for_the_command)
        returning = connect(port, client.way_back(), protocols=[RECOVERY])
        await began
        assert await bus.presence.disconnect("user", UUID) == 1
        await self.is_held(gate, 0)
        turned.callback(None)
        with pytest.raises(HandshakeFailed, match="403"):
            await returning

    async def test_a_deleted_person_cannot_return(self) -> None:
        gate, port = await self.gateway()
        _, second = await self.gateway()
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        topic = f"{topics.module_events(topics.DATABASE_MODULE)}.user"
        event = DatabaseEvent(
            type=DatabaseEvent.DB_DELETE,
            object_type="user",
            object_value=json.dumps({"user_uuid": UUID}),
        )
        self.redis.publish(topic, tera_event(topic, [event]).SerializeToString())
        await self.is_held(gate, 0)
        with pytest.raises(HandshakeFailed, match="403"):
            await client.come_back(second)

    async def test_kept_clients_of_an_identity_are_bounded(self) -> None:
        limits = GatewayLimits(max_clients_per_identity=2)
        gate, port = await self.gateway(limits=limits)
        clients = []
        for number, uuid in enumerate((*LETTERS, LETTERS[0])):
            clients.append(await self.client(port, uuid=uuid))
            await clients[-1].drop()
            await self.is_held(gate, min(number + 1, 2))
        assert not await clients[0].come_back(port)
        assert await clients[1].come_back(port)
        assert gate.recovery.outcomes == {"unknown": 1, "recovered": 1}

    async def test_a_client_counts_once_while_it_is_handed_over(self) -> None:
        limits = GatewayLimits(max_clients_per_identity=1)
        _, port = await self.gateway(limits=limits)
        client = await self.client(port)
        for _ in range(3):
            assert await client.come_back(port)  # its old websocket is still open

    async def test_a_client_that_never_reads_is_closed_and_may_return(self) -> None:
        limits = GatewayLimits(max_send_buffer=200_000)
        self.patch(protocol, "PONG_TIMEOUT", GUARD)
        gate, port = await self.gateway(limits=limits, recovery_buffer=100_000)
        client = await self.client(port)
        other = await self.client(port, uuid=OTHER)
        client.websocket.transport.pauseProducing()
        while not gate.limited["max_send_buffer"]:
            self.publish("x" * 50_000)
            await turn()
        assert gate.recovery.bytes <= 100_000
        self.publish("a", uuid=OTHER)
        assert await other.until(1) == ["a"]
        client.websocket.transport.resumeProducing()
        await client.websocket.closed
        assert isinstance(await client.come_back(port), bool)


class PresenceTests(RecoveryTestCase):
    async def test_a_return_before_the_old_websocket_ends_is_silent(self) -> None:
        _, port = await self.gateway()
        reports = self.subscribed(REPORTS)
        client = await self.client(port)
        assert b"user" in await message(reports)
        assert await client.come_back(port)
        assert await client.come_back(port)
        await client.drop()
        report = TeraModuleMessage.FromString(await message(reports))
        event: Any
        (event,) = map(unpack, report.data)
        assert event.type == UserEvent.USER_DISCONNECTED

    async def test_an_absent_client_is_reported_gone(self) -> None:
        gate, port = await self.gateway()
        bus = await self.bus()
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        await until(lambda: bus.presence.online("user"), lambda online: online == [])
        assert await client.come_back(port)
        await until(lambda: bus.presence.online("user"), lambda online: online == [UUID])


class StopTests(RecoveryTestCase):
    async def stop(self, gate: Gateway) -> Deferred[None]:
        """Start to stop a gateway and return when its clients are closed."""
        stopping = gate.stopService()

        async def attached() -> int:
            await turn()
            return gate.recovery.attached

        await until(attached, lambda count: count == 0)
        return stopping

    async def announced(self, count: int) -> None:
        """Wait until Redis lists that many gateways for returns."""

        def known() -> int:
            return int(self.redis.zcard(GATEWAYS))

        await until(lambda: deferToThread(known), lambda found: found == count)

    async def test_a_stopping_gateway_hands_all_clients_over(self) -> None:
        old, first = await self.gateway(limits=GatewayLimits(shutdown_timeout=GUARD))
        _, second = await self.gateway()
        await self.announced(2)
        clients = [await self.client(first, uuid=str(uuid4())) for _ in range(3)]
        stopping = await self.stop(old)
        for number, client in enumerate(clients):
            assert (await client.websocket.closed)[0] == 1001
            assert not stopping.called
            assert old.recovery.held == 3 - number
            assert await client.come_back(second)
        await stopping

    async def test_the_last_gateway_stops_without_waiting(self) -> None:
        old, first = await self.gateway(limits=GatewayLimits(shutdown_timeout=0))
        client = await self.client(first)
        await old.stopService()
        assert (await client.websocket.closed)[0] == 1001

    async def test_a_return_under_way_completes_before_the_stop(self) -> None:
        old, first = await self.gateway(limits=GatewayLimits(shutdown_timeout=GUARD))
        _, second = await self.gateway()
        await self.announced(2)
        client = await self.client(first)
        await client.drop()
        await self.is_held(old)
        self.publish("a")
        await self.is_missed(old, 1)
        taken: Deferred[None] = Deferred()
        replied: Deferred[None] = Deferred()
        take = old.recovery.take

        async def reply_late(*arguments: Any) -> Any:
            reply = await take(*arguments)
            taken.callback(None)
            await replied
            return reply

        self.patch(
            old.recovery, "take", lambda *arguments: Deferred.fromCoroutine(reply_late(*arguments))
        )
        returning = Deferred.fromCoroutine(client.come_back(first))
        await taken
        stopping = old.stopService()
        replied.callback(None)
        assert await returning
        assert (await client.websocket.closed)[0] == 1001
        assert client.collect() == ["a"]
        assert not stopping.called
        self.publish("b")
        assert await client.come_back(second)
        assert await client.until(1) == ["a", "b"]
        await stopping

    async def test_a_stop_waits_until_the_last_client_is_handed_over(self) -> None:
        bus = await self.bus()
        old, first = await self.gateway(bus, limits=GatewayLimits(shutdown_timeout=GUARD))
        _, second = await self.gateway()
        await self.announced(2)
        client = await self.client(first)
        stored: Deferred[None] = Deferred()
        replied: Deferred[None] = Deferred()
        waits: Deferred[None] = Deferred()
        execute, given = bus.link.execute, old.recovery._handovers.given

        async def reply_late(*arguments: Any) -> Any:
            reply = await execute(*arguments)
            if arguments[0] == "SET":
                stored.callback(None)
                await replied
            return reply

        def given_late(timeout: float) -> Deferred[None]:
            waits.callback(None)
            return given(timeout)

        self.patch(
            bus.link, "execute", lambda *arguments: Deferred.fromCoroutine(reply_late(*arguments))
        )
        self.patch(old.recovery._handovers, "given", given_late)
        stopping = await self.stop(old)
        stopped: Deferred[None] = Deferred()
        stopping.addCallback(lambda _: stopped.callback(None))
        returning = Deferred.fromCoroutine(client.come_back(second))
        for reached in (stored, waits):
            await DeferredList([reached, stopped], fireOnOneCallback=True)
            assert not stopped.called
        replied.callback(None)
        assert await returning
        await stopping

    async def test_a_token_is_valid_before_its_client_is_refused(self) -> None:
        gate, port = await self.gateway(limits=GatewayLimits(max_clients_per_identity=1))
        client = await self.client(port)
        await client.drop()
        await self.is_held(gate)
        other = await self.client(port)
        asked: Deferred[None] = Deferred()
        written: Deferred[None] = Deferred()
        put_back = gate.recovery._tokens.put_back

        async def put_back_late(*arguments: Any) -> None:
            asked.callback(None)
            await written
            await put_back(*arguments)

        self.patch(
            gate.recovery._tokens,
            "put_back",
            lambda *arguments: Deferred.fromCoroutine(put_back_late(*arguments)),
        )
        returning = Deferred.fromCoroutine(client.come_back(port))
        await asked
        await turn()
        assert not returning.called
        written.callback(None)
        with pytest.raises(HandshakeFailed, match="429"):
            await returning
        other.websocket.sendClose(1000)
        await other.websocket.closed
        assert await client.come_back(port)

    async def test_a_gateway_is_announced_when_it_starts(self) -> None:
        self.patch(recovery, "LOOKED", 600.0)
        await self.gateway()
        await self.announced(1)

    async def test_a_late_return_recovers_nothing(self) -> None:
        old, first = await self.gateway(limits=GatewayLimits(shutdown_timeout=1))
        new, second = await self.gateway()
        await self.announced(2)
        client = await self.client(first)
        await old.stopService()
        assert not await client.come_back(second)
        assert new.recovery.outcomes == {"gone": 1}

    async def test_stopping_gateways_do_not_wait_for_each_other(self) -> None:
        limits = GatewayLimits(shutdown_timeout=0)
        gates = []
        for _ in range(2):
            gate, port = await self.gateway(limits=limits)
            await self.client(port, uuid=str(uuid4()))
            gates.append(gate)
        await self.announced(2)
        await gatherResults([gate.stopService() for gate in gates])
