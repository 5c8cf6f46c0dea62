"""Log messages of OpenTera's own client on our lists, and ours as OpenTera reads them."""

from __future__ import annotations

from typing import Any

from opentera_twisted.logs import LogPublisher, log_event
from opentera_twisted.messages import LogEvent, LoginEvent, TeraEvent
from opentera_twisted.messages.envelopes import unpack
from opentera_twisted.variables import LogList
from tests.helpers.support import until
from tests.opentera_package.environments import Environment, ProgramTestCase

LEVELS = [level.value.removeprefix("log.") for level in LogList]


class Logs(ProgramTestCase):
    __test__ = False

    async def test_messages_of_their_client_are_on_the_lists(self) -> None:
        await self.results("logger.py")
        for level in LEVELS:
            payloads: Any = self.redis.lrange(f"log.{level}", 0, -1)
            events = [TeraEvent.FromString(payload) for payload in payloads]
            assert {event.header.topic for event in events} == {f"log.{level}"}
            logged = unpack(events[0].events[0])
            assert isinstance(logged, LogEvent)
            assert LogEvent.LogLevel.Name(logged.level) == f"LOGLEVEL_{level.upper()}"
            assert (logged.sender, logged.message) == ("sender", f"('{level}', 5, 'Zoé')")
            if level != "info":
                assert len(events) == 1
                continue
            login = unpack(events[1].events[0])
            assert isinstance(login, LoginEvent)
            assert login.log_header.timestamp == events[1].header.time
            login.log_header.ClearField("timestamp")
            assert login == LoginEvent(
                log_header=LogEvent(level=LogEvent.LOGLEVEL_INFO, sender="sender", message="Zoé"),
                login_type=LoginEvent.LOGIN_TYPE_TOKEN,
                login_status=LoginEvent.LOGIN_STATUS_SUCCESS,
                client_name="client",
                client_version="1.0",
                client_ip="127.0.0.1",
                os_name="Linux",
                os_version="6",
                user_uuid="user",
                server_endpoint="/login",
            )

    async def test_their_messages_read_our_log(self) -> None:
        bus = await self.bus()
        publisher = LogPublisher(bus, "ours")
        for log_list in LogList:
            publisher.push(log_list, log_event(log_list, "Zoé", "sender", 1700000000.5))
        publisher.login(LoginEvent(user_uuid="user"), "text")
        await until(publisher_is_empty(publisher), bool)
        read = await self.results("reader.py")
        for level in LEVELS:
            name = f"log.{level}"
            events = [event for one, event in read if one == name]
            assert events[0]["header"] == {"version": 1, "time": 1700000000.5, "topic": name}
            assert events[0]["events"][0] == {
                "@type": "type.googleapis.com/opentera.protobuf.LogEvent",
                "level": f"LOGLEVEL_{level.upper()}",
                "timestamp": 1700000000.5,
                "sender": "sender",
                "message": "Zoé",
            }
            assert len(events) == 1 + (level == "info")
            if level == "info":
                assert events[1]["events"][0]["userUuid"] == "user"
                assert events[1]["events"][0]["logHeader"]["message"] == "text"
        assert not any(self.redis.llen(f"log.{level}") for level in LEVELS)


def publisher_is_empty(publisher: LogPublisher) -> Any:
    async def is_empty() -> bool:
        await publisher.flush()
        return not publisher._is_sending

    return is_empty


class TestTheirLogs(Logs):
    __test__ = True


class TestMovedLogs(Logs):
    __test__ = True
    environment: Environment = "moved"
