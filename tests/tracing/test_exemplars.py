"""Exemplars on the metrics page: the trace of a call, in the format that Prometheus requests."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from opentera_twisted import Procedures
from tests.helpers.admin import AdminTestCase
from tests.helpers.support import GUARD
from tests.helpers.traces import recorder, spans

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"


class ExemplarTests(AdminTestCase):
    async def test_openmetrics_names_the_trace_of_a_call(self) -> None:
        bus = await self.bus(tracing=True)
        admin = await self.admin(bus=bus)
        procedures = Procedures()
        procedures.expose(name="get")(lambda: None)
        await bus.serve_service("S", procedures)
        recorder().clear()
        await bus.call_service("S", "get", timeout=GUARD)
        page = await admin.ask("/metrics", Accept=ACCEPT)
        assert page.headers["Content-Type"].startswith("application/openmetrics-text;")
        families = text_string_to_metric_families(page.body.decode())
        found = {
            family.name: sample.exemplar.labels
            for family in families
            for sample in family.samples
            if sample.exemplar is not None
        }
        (client,) = (span for span in spans("service.S/get") if span.kind.name == "CLIENT")
        assert found["opentera_bus_call_seconds"] == {
            "trace_id": f"{client.context.trace_id:032x}",
            "span_id": f"{client.context.span_id:016x}",
        }
        assert found.keys() == {"opentera_bus_call_seconds", "opentera_bus_call_served_seconds"}

    async def test_both_formats_have_the_same_samples(self) -> None:
        admin = await self.admin()
        plain, accepted = await admin.ask("/metrics"), await admin.ask("/metrics", Accept=ACCEPT)
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        names = [
            {sample.name for family in families for sample in family.samples}
            for families in (
                parse_plain(plain.body.decode()),
                text_string_to_metric_families(accepted.body.decode()),
            )
        ]
        assert names[0] == names[1]
