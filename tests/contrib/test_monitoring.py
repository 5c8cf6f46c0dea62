"""The alerts and the dashboard of ``contrib/``: valid, and with existing metrics."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.helpers.support import GUARD, ROOT, free_port
from tests.helpers.tools import tool
from tests.program.test_program import ProgramTestCase

CONTRIB = ROOT / "contrib"
RULES = CONTRIB / "prometheus-rules.yml"
DASHBOARD = CONTRIB / "grafana-dashboard.json"

_NAME = re.compile(r"\bopentera_bus_\w+")
_LABELS = re.compile(r"\bby \(([^)]*)\)|\b(\w+)=~?\"|\{\{(?:\s*\$labels\.)?(\w+)\s*\}\}")


def names(text: str) -> set[str]:
    """Return the metrics that a file names."""
    return set(_NAME.findall(text)) - {"opentera_bus_rules"}


def expressions() -> list[str]:
    """Return the queries of the dashboard."""
    return [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]


class MetricTests(ProgramTestCase):
    async def test_every_named_metric_exists(self) -> None:
        admin = free_port()
        endpoint = f"tcp:{admin}:interface=127.0.0.1"
        options = ("--redis", self.gateway_url, "--admin", endpoint, "--workers", "2")
        program, _ = self.start(*options)
        await program.says("workers are ready")

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=GUARD) as page:
                text: str = page.read().decode()
                return text

        samples = {
            sample.name: sample.labels.keys()
            for family in text_string_to_metric_families(await deferToThread(read))
            for sample in family.samples
        }
        for expression in [*expressions(), *_alerts().values()]:
            assert names(expression) <= samples.keys(), names(expression) - samples.keys()
            known = {"instance", "job"}.union(*(samples[name] for name in names(expression)))
            for several, one, _ in _LABELS.findall(expression):
                for label in filter(None, (*several.replace(" ", "").split(","), one)):
                    assert label in known, expression

    def test_each_metric_of_the_docs_example_exists(self) -> None:
        assert names(RULES.read_text()) == set().union(*map(names, _alerts().values()))


def _alerts() -> dict[str, str]:
    """Return the expression of each alert."""
    found = re.findall(
        r"- alert: (\w+)\n\s+expr: (?:\|-\n)?(.*?)\n\s+(?:for|labels):",
        RULES.read_text(),
        re.DOTALL,
    )
    return dict(found)


class PrometheusTests(TestCase):
    def promtool(self, *arguments: str) -> None:
        command = (tool("promtool", "prometheus"), *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_promtool_accepts_the_rules(self) -> None:
        self.promtool("check", "rules", str(RULES))

    def test_each_alert_fires_when_and_where_it_should(self) -> None:
        self.promtool("test", "rules", str(CONTRIB / "prometheus-rules-test.yml"))
        tested = (CONTRIB / "prometheus-rules-test.yml").read_text()
        assert _alerts()
        for alert in _alerts():
            assert f'alertname="{alert}"' in tested

    def test_prometheus_accepts_the_queries_of_the_dashboard(self) -> None:
        tool("promtool", "prometheus")
        rules = [
            {"record": f"panel:{number}", "expr": self.filled_in(expression)}
            for number, expression in enumerate(expressions())
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            self.promtool("check", "rules", file.name)

    @staticmethod
    def filled_in(expression: str) -> str:
        """Replace the variables as Grafana does."""
        return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


class DashboardTests(TestCase):
    def test_panels_are_complete_and_do_not_overlap(self) -> None:
        dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells
            assert panel["title"]
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert variables == {"datasource", "instance"}
