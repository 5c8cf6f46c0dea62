"""OpenTera's messages, published by its own client, as our gateway shows them to websockets."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from opentera_twisted import topics
from opentera_twisted.messages import TeraEvent
from opentera_twisted.messages.envelopes import unpack_all
from opentera_twisted.messages.text import event_text
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import UUID
from tests.helpers.websockets import connect
from tests.opentera_package.environments import Environment, ProgramTestCase

TOPIC = "service.Theirs.events"
MESSAGES = 19
FOR_PROGRAMS = {"LogEvent", "LoginEvent", "TeraEvent", "TeraMessage", "TeraModuleMessage"}


class Messages(ProgramTestCase, GatewayTestCase):
    __test__ = False

    async def test_each_message_has_the_text_that_opentera_makes(self) -> None:
        port = await self.gateway()
        key = await self.keys.issue("user", UUID, topics=[TOPIC])
        client = await connect(port, f"/wss/user?id={key}")
        published = await self.results("publisher.py", TOPIC)
        assert len({name for name, *_ in published}) == MESSAGES
        for name, text, receivers, payload in published:
            assert receivers == 1
            event = TeraEvent.FromString(bytes.fromhex(payload))
            assert event_text(event, [*unpack_all(event.events)]) == text, name
        texts = [text for name, text, *_ in published if name not in FOR_PROGRAMS]
        last = topics.websocket_events("user", UUID)
        assert await client.messages.wait(len(texts)) == texts
        assert await deferToThread(self.redis.publish, last, b"") == 1
        assert client.messages.items == texts


class TestTheirMessages(Messages):
    __test__ = True


class TestMovedMessages(Messages):
    __test__ = True
    environment: Environment = "moved"
