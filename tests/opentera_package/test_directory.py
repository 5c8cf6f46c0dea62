"""The directory of contrib on OpenTera's own models, and a gateway that uses it."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
from google.protobuf.message import Message

from opentera_twisted import topics
from opentera_twisted.errors import ProcedureFailed
from opentera_twisted.gateway import RpcAccess, RpcIdentities
from opentera_twisted.messages import (
    DeviceEvent,
    ParticipantEvent,
    TeraModuleMessage,
    UserEvent,
)
from opentera_twisted.messages.envelopes import tera_event, unpack
from tests.gateway.test_gateway import REPORTS, GatewayTestCase
from tests.helpers.processes import Process
from tests.helpers.support import ROOT, message, shared_server
from tests.helpers.websockets import HandshakeFailed, WebSocket
from tests.opentera_package.environments import program

DIRECTORY = "service.OpenTeraDirectory"
NAMES = ("Ann", "Bob", "Eve", "Root", *"1234", *"XY")
UUIDS = {name: str(uuid5(NAMESPACE_OID, name)) for name in NAMES}
NAME_OF = {uuid: name for name, uuid in UUIDS.items()}
USERS = topics.module_events("TeraServer.UserManagerModule")


@pytest.mark.xdist_group("directory")
class DirectoryTests(GatewayTestCase):
    directory: Process

    @classmethod
    def setUpClass(cls) -> None:
        """Start the directory, for all tests of the class."""
        cls.directory = program("moved", "directory.py", shared_server().port, ROOT / "contrib")
        cls.directory.wait_for("the directory is served")

    @classmethod
    def tearDownClass(cls) -> None:
        """End the directory."""
        cls.directory.kill()

    async def test_identify_returns_the_names_of_enabled_clients(self) -> None:
        bus = await self.bus()

        async def identify(kind: str, uuid: str) -> object:
            return await bus.call_service("OpenTeraDirectory", "identify", kind, UUIDS[uuid])

        assert await identify("user", "Ann") == {"name": "Ann Zoé"}
        assert await identify("participant", "1") == {
            "name": "participant 1",
            "project": "A",
            "site": "S",
        }
        assert await identify("device", "X") == {"name": "device X"}
        for kind, uuid in (("user", "Eve"), ("participant", "2"), ("user", "X"), ("device", "1")):
            assert await identify(kind, uuid) is None
        with pytest.raises(ProcedureFailed, match="expected a kind"):
            await identify("robot", "X")

    async def test_may_see_agrees_with_opentera(self) -> None:
        bus = await self.bus()

        async def may_see(kind: str, name: str) -> object:
            seen: Any = await bus.call_service("OpenTeraDirectory", "may_see", kind, UUIDS[name])
            return seen and {kind: sorted(map(NAME_OF.get, uuids)) for kind, uuids in seen.items()}

        assert await may_see("user", "Ann") == {
            "user": ["Ann", "Bob"],
            "participant": ["1", "2"],
            "device": ["X"],
        }
        # An administrator of a site has all of its projects.
        assert await may_see("user", "Bob") == {
            "user": ["Ann", "Bob"],
            "participant": ["1", "2", "4"],
            "device": ["X", "Y"],
        }
        assert await may_see("user", "Eve") == {"user": ["Eve"], "participant": [], "device": []}
        assert await may_see("user", "Root") == {
            "user": ["Ann", "Bob", "Eve", "Root"],
            "participant": ["1", "2", "3", "4"],
            "device": ["X", "Y"],
        }
        assert await may_see("participant", "1") == {"device": ["X"]}
        assert await may_see("participant", "3") == {"device": []}
        assert await may_see("device", "X") == {"participant": ["1"]}
        assert await may_see("user", "X") is None

    async def test_a_gateway_shows_each_client_what_an_existing_one_would(self) -> None:
        bus = await self.bus()
        port = await self.gateway(
            bus, identities=RpcIdentities(bus, DIRECTORY), policy=RpcAccess(bus, DIRECTORY)
        )
        reports = self.subscribed(REPORTS)
        user = await self.log_in(port, uuid=UUIDS["Ann"])
        report = unpack(TeraModuleMessage.FromString(await message(reports)).data[0])
        assert isinstance(report, UserEvent)
        assert report.user_fullname == "Ann Zoé"
        participant = await self.log_in(port, "participant", uuid=UUIDS["1"])
        device = await self.log_in(port, "device", uuid=UUIDS["X"])
        with pytest.raises(HandshakeFailed, match="403"):
            await self.log_in(port, uuid=UUIDS["Eve"])
        self.publish(
            *(UserEvent(user_uuid=UUIDS[name]) for name in ("Ann", "Bob", "Eve", "Root")),
            *(ParticipantEvent(participant_uuid=UUIDS[name]) for name in "1234"),
            *(DeviceEvent(device_uuid=UUIDS[name]) for name in "XY"),
        )
        assert await self.seen(user) == ["Ann", "Bob", "1", "2", "X"]
        assert await self.seen(participant) == ["1", "X"]
        assert await self.seen(device) == ["1", "X"]

    def publish(self, *events: Message) -> None:
        self.redis.publish(USERS, tera_event(USERS, events).SerializeToString())

    async def seen(self, client: WebSocket) -> list[str]:
        """Return the names in the first events of a client."""
        return [
            NAME_OF[next(value for name, value in event.items() if name.endswith("Uuid"))]
            for event in (await client.event(0))["events"]
        ]
