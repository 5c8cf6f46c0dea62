"""Spans on a Redis Cluster."""

from __future__ import annotations

import pytest

from opentera_twisted import Procedures
from tests.helpers.cluster import ClusterTestCase
from tests.helpers.support import GUARD
from tests.helpers.traces import recorder, spans

pytestmark = pytest.mark.xdist_group("cluster")


class ClusterTests(ClusterTestCase):
    async def test_a_call_and_its_commands_have_spans(self) -> None:
        bus = await self.bus(tracing=True)
        procedures = Procedures()

        @procedures.expose
        async def get() -> None:
            await bus.variables.get("a")

        await bus.serve_service("S", procedures)
        recorder().clear()
        await bus.call_service("S", "get", timeout=GUARD)
        (command,) = spans("GET")
        (procedure,) = spans("get")
        assert command.parent.span_id == procedure.context.span_id
        assert "db.namespace" not in command.attributes, "a cluster has one database"
        kinds = {span.kind.name for span in spans("service.S/get")}
        assert kinds == {"CLIENT", "SERVER"}
