"""Computations of the benchmarks: counting, ratios, exponents, events."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import capacity, document
from benchmarks.__main__ import SCENARIOS, run_each
from benchmarks.capacity import Costs, Machine
from benchmarks.children import program, redis_server
from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import Connected, Delivered, connected, connected_to_both
from benchmarks.events import MARK, SIZE, compact, event, text
from benchmarks.exponents import exponent, steepest
from benchmarks.figures import Figure, Point, Ratio, Results, Rival, Series, Target
from benchmarks.gateways import Audience, Side, Start, null, ours, with_recovery
from benchmarks.plots import pictures
from benchmarks.programs.dialects import DIALECTS, PONG, TEXT, frame
from benchmarks.programs.marks import MarkCounter
from benchmarks.programs.our_receiver import personal
from benchmarks.programs.our_sender import PARTS, in_turn, part_of
from benchmarks.rivals.environments import NotMeasuredError
from benchmarks.scenario import Setting, rotated
from tests.helpers.support import ROOT

MARKED = st.lists(st.sampled_from([MARK.encode(), b"~", b"^|~", b"x" * 9, b"\x81\x7e\x01\xc9"]))


def reading(data: bytes) -> Callable[[memoryview], int]:
    """Return a ``recv_into`` that yields these bytes."""

    def recv_into(buffer: memoryview) -> int:
        buffer[: len(data)] = data
        return len(data)

    return recv_into


class TestCounting:
    @given(MARKED.map(b"".join), st.lists(st.integers(0, 400)))
    def test_marks_are_counted_wherever_reads_divide_them(
        self, stream: bytes, cuts: list[int]
    ) -> None:
        counter = MarkCounter(MARK.encode())
        counter.add(1)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for start, end in pairwise(edges):
            counter.read(1, reading(stream[start:end]))
        assert counter.total == counter.counts[1] == stream.count(MARK.encode())
        assert counter.size == len(stream)

    def test_a_mark_is_not_put_together_from_two_connections(self) -> None:
        counter = MarkCounter(MARK.encode())
        for connection in (1, 2):
            counter.add(connection)
        counter.read(1, reading(MARK.encode()[:10]))
        counter.read(2, reading(MARK.encode()[10:]))
        assert counter.total == 0

    def test_a_mark_is_joined_across_interleaved_reads(self) -> None:
        counter = MarkCounter(MARK.encode())
        for connection in (1, 2):
            counter.add(connection)
        counter.read(1, reading(MARK.encode()[:10]))
        counter.read(2, reading(b"something else, and longer than a mark"))
        counter.read(1, reading(MARK.encode()[10:]))
        assert counter.counts == {1: 1, 2: 0}

    def test_a_ping_is_found_only_in_the_last_read(self) -> None:
        counter = MarkCounter(MARK.encode())
        counter.add(1)
        size = counter.read(1, reading(b"text\x89\x02hi"))
        assert counter.find(b"\x89", size) == b"\x89\x02hi"
        size = counter.read(1, reading(b"text"))
        assert counter.find(b"\x89", size) is None


class TestEvents:
    @pytest.mark.parametrize("form", [text, compact])
    @pytest.mark.parametrize("size", [SIZE, 10_000])
    def test_an_event_has_the_size_it_should_and_one_mark(self, form: object, size: int) -> None:
        assert callable(form)
        for topic in (Audience.shared(1).topics[0], Audience.personal(1).topics[0]):
            written = form(event(topic, size, form))
            assert len(written.encode()) == size
            assert written.count(MARK) == 1

    def test_a_mark_does_not_overlap_itself(self) -> None:
        assert not any(MARK.startswith(MARK[start:]) for start in range(1, len(MARK)))

    def test_an_impossible_event_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="bytes at least"):
            event("service.Bench.events", 10)

    def test_shared_websockets_have_one_topic_others_their_own(self) -> None:
        assert len(Audience.shared(5).published) == 1
        assert len(Audience.personal(5).published) == len(set(Audience.personal(5).topics)) == 5


class TestDialects:
    @pytest.mark.parametrize(
        ("length", "head"),
        [
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ],
    )
    def test_a_frame_encodes_its_length_minimally(self, length: int, head: bytes) -> None:
        assert frame(TEXT, b"x" * length, masked=False) == head + b"x" * length

    def test_a_client_masks_with_zeros(self) -> None:
        assert frame(TEXT, b"hi", masked=True) == b"\x81\x82\x00\x00\x00\x00hi"

    def test_a_ping_is_answered_with_its_payload(self) -> None:
        pong = DIALECTS["plain"].answer(b"\x89\x02hi\x81\x00")
        assert pong == frame(PONG, b"hi", masked=True)

    def test_a_ping_of_another_protocol_is_answered_in_kind(self) -> None:
        assert DIALECTS["socket.io"].answer(b"\x81\x012") == frame(TEXT, b"3", masked=True)

    def test_a_second_topic_is_subscribed_before_the_last_step(self) -> None:
        said = [step.say for step in DIALECTS["nats"].steps_to("one,two")]
        assert [text.partition("SUB ")[2] for text in said] == [
            "one 1\r\nPING\r\n",
            "two 2\r\nPING\r\n",
            "",
        ]
        assert [step.say for step in DIALECTS["nats"].steps_to("one")] == [said[0], ""]

    def test_every_dialect_ends_by_saying_nothing(self) -> None:
        for dialect in DIALECTS.values():
            assert [step.say for step in dialect.steps if not step.say] == [""] * bool(
                dialect.steps
            )


class TestFigures:
    def test_a_ratio_uses_medians_and_its_spread_rounds(self) -> None:
        ours, rival = Series("ours", [10.0, 30.0, 20.0]), Series("rival", [10.0, 10.0, 40.0])
        assert Ratio.of(ours, rival) == Ratio(2.0, 0.5, 3.0)

    def test_a_rival_with_fewer_rounds_is_compared_in_those(self) -> None:
        ours, rival = Series("ours", [10.0, 30.0, 20.0]), Series("rival", [10.0])
        assert Ratio.of(ours, rival) == Ratio(2.0, 1.0, 1.0)

    def test_rounds_that_do_not_pair_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="longer"):
            Ratio.of(Series("ours", [1.0]), Series("rival", [1.0, 2.0]))

    def test_a_missing_rival_is_reported_without_a_ratio(self) -> None:
        rival = Rival(Series("rival"), Target("at least", 1.0), "not installed")
        figure = Figure("scenario", "name", "s", Series("ours", [1.0]), [rival])
        assert figure.ratio(rival) is None
        assert figure.is_reached(rival) is None
        assert figure.as_json()["rivals"] == [{"who": "rival", "not measured": "not installed"}]

    def test_a_target_applies_to_the_ratio_or_else_the_median(self) -> None:
        rival = Rival(Series("rival", [2.0]), Target("below", 1.0))
        ours = Series("ours", [1.0])
        figure = Figure("scenario", "name", "s", ours, [rival], Target("below", 0.5))
        assert figure.is_reached(rival) is True
        assert figure.is_reached() is False

    def test_figures_of_one_kind_share_a_picture(self) -> None:
        ours = Series("ours", [1.0])
        grown = [
            Figure("growth", f"{size} clients", "µs", ours, point=Point("cost", "clients", size))
            for size in (10, 100)
        ]
        alone = Figure("growth", "exponent", "power", ours)
        drawn = list(pictures([grown[0], alone, alone, grown[1]]))
        assert [(plot.name, list(plot.figures)) for plot in drawn] == [("growth-cost", grown)]


class TestExponents:
    @given(st.floats(-2, 3), st.floats(0.01, 1_000))
    def test_a_power_law_is_found(self, power: float, factor: float) -> None:
        sizes = (10, 100, 1_000, 10_000)
        costs = [factor * size**power for size in sizes]
        assert exponent(sizes, costs) == pytest.approx(power, abs=1e-6)
        assert steepest(sizes, costs) == pytest.approx(power, abs=1e-6)

    def test_the_steepest_step_is_reported(self) -> None:
        assert steepest((10, 100, 1_000), (1.0, 1.0, 100.0)) == pytest.approx(2.0)


class TestRounds:
    @given(st.integers(1, 9))
    def test_each_side_has_each_place_once(self, count: int) -> None:
        places: Counter[tuple[int, int]] = Counter()
        for number in range(1, count + 1):
            places.update(enumerate(rotated(range(count), number)))
        assert places == {(place, side): 1 for place in range(count) for side in range(count)}

    def test_a_failing_gateway_is_reported_and_others_measured(self) -> None:
        def measure(name: str, start: Start) -> Measured:
            if name == "absent":
                raise NotMeasuredError("not installed")
            if name == "broken":
                raise RuntimeError("ended with status 1")
            return Measured(name, {"speed": 2.0})

        comparison = Comparison(dict.fromkeys(("ours", "absent", "broken", "good"), null))
        comparison.run(Setting(0, 2, quick=True), "title", measure)
        figure = comparison.figure("scenario", "speed", "/s")
        assert [rival.missing for rival in figure.rivals] == [
            "not installed",
            "it failed: ended with status 1",
            "",
        ]
        assert figure.ours.samples == figure.rivals[-1].series.samples == [2.0, 2.0]

    def test_a_slow_rival_is_measured_in_one_round_and_ours_in_all(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("benchmarks.comparison.SLOW", -1.0)
        monkeypatch.setattr("benchmarks.comparison.SLOWER", 0.0)
        comparison = Comparison(dict.fromkeys(("ours", "slow"), null))
        setting = Setting(0, 3, quick=True)
        comparison.run(setting, "title", lambda name, _: Measured(name, {"speed": 2.0}))
        figure = comparison.figure("scenario", "speed", "/s")
        assert (len(figure.ours.samples), len(figure.rivals[0].series.samples)) == (3, 1)
        assert figure.ratio(figure.rivals[0]) is not None

    def test_a_failure_of_our_gateway_is_raised(self) -> None:
        def measure(name: str, start: Start) -> Measured:
            raise RuntimeError(f"{name} failed")

        with pytest.raises(RuntimeError, match="ours failed"):
            Comparison({"ours": null}).run(Setting(0, 1, quick=True), "title", measure)


class TestRuns:
    def test_a_scenario_that_fails_loses_no_results_of_others(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path = tmp_path / "results.json"
        rounds = []

        def good(setting: Setting) -> list[Figure]:
            rounds.append(setting.rounds)
            return [Figure("good", "name", "s", Series("ours", [1.0]))]

        def broken(_: Setting) -> list[Figure]:
            assert len(json.loads(path.read_text())["figures"]) == 1
            raise RuntimeError("it broke")

        monkeypatch.setitem(SCENARIOS, "good", SimpleNamespace(run=good, ROUNDS=3))
        monkeypatch.setitem(SCENARIOS, "broken", SimpleNamespace(run=broken))
        results = Results({})
        run_each(["good", "broken", "good"], Setting(0, 0, quick=False), results, path)
        written = json.loads(path.read_text())
        assert written["failed"] == {"broken": "it broke"}
        assert [figure["scenario"] for figure in written["figures"]] == ["good", "good"]
        assert set(written["seconds"]) == {"good", "broken"}
        assert rounds == [3, 3]
        assert "good 0 s, broken 0 s; in all 0 s" in capsys.readouterr().err

    def test_requested_rounds_apply_to_every_scenario(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rounds = []

        def run(setting: Setting) -> list[Figure]:
            rounds.append(setting.rounds)
            return []

        monkeypatch.setitem(SCENARIOS, "any", SimpleNamespace(run=run, ROUNDS=3))
        run_each(["any"], Setting(0, 7, quick=True), Results({}), None)
        assert rounds == [7]


class TestDocument:
    results: Any = json.loads((ROOT / "tests" / "data" / "benchmarks.json").read_text())

    def test_figures_are_listed_with_ratio_and_target(self) -> None:
        lines = document.figures(self.results).splitlines()
        assert (
            "| p50 | 210 µs | 105 µs: floor: bare sockets | 2.00 (1.80 to 2.20) | below 2 | yes |"
        ) in lines
        assert "|  |  | nats.py: not measured, pip gave 1 no / network |  |  |  |" in lines
        assert "Median of 3 rounds." in lines
        assert "`growth` gave no figures: it broke." in lines

    def test_gateways_have_a_row_each_and_loads_a_column_each(self) -> None:
        lines = document.figures(self.results).splitlines()
        start = lines.index("**deliveries, events/s**")
        assert lines[start + 2 : start + 7] == [
            "| gateway (ours to it) | burst, 100 websockets | burst, 1,000 websockets |",
            "| --- | --- | --- |",
            "| ours: twistd process | **100,000** | **1,000,000** |",
            "| nats-server 2.9.10 | 50,000 (2.00) | 500,000 (2.00) |",
            "| ws 8 | 200,000 (0.50) |  |",
        ]
        assert "Not measured: ws: it failed: status 1." in lines

    def test_targets_are_listed_below_a_table_of_gateways(self) -> None:
        lines = document.figures(self.results).splitlines()
        assert "* memory each of 1,000, ours: twistd process: below 12 KiB, reached" in lines
        assert ("* ratio at least 1: not beside ws 8 (burst, 100 websockets: deliveries)") in lines

    def test_only_text_between_the_marks_is_replaced(self) -> None:
        page = "before\n<!-- figures: by whom -->\nold\n<!-- end of figures -->\nafter\n"
        new = document.written(page, "figures", "| \\1 |")
        assert new == (
            "before\n<!-- figures: by whom -->\n\n| \\1 |\n\n<!-- end of figures -->\nafter\n"
        )
        assert document.written(new, "figures", "| \\1 |") == new
        with pytest.raises(ValueError, match="0 parts between marks of capacity"):
            document.written(page, "capacity", "")

    def test_the_page_has_marks_for_every_part(self) -> None:
        page = document.PAGE.read_text()
        for part in ("figures", "capacity"):
            assert document.written(page, part, "new") != page

    def test_the_page_shows_every_copied_picture(self) -> None:
        shown = re.findall(r"\]\(\.\./images/(.+)\.svg\)", document.PAGE.read_text())
        assert sorted({*shown} - {"endurance"}) == sorted(document.PICTURES)

    def test_capacity_follows_from_the_measurements(self) -> None:
        costs = Costs.of(self.results["figures"])
        assert (costs.base, costs.websocket, costs.login) == (56.0, 12.0, 250.0)
        assert costs.event == pytest.approx(55.0)
        assert costs.delivery == pytest.approx(0.5)
        machine = Machine("a machine", memory=1_080, share=0.5)
        assert costs.websockets(machine) == pytest.approx(1024 * 1024 / 12)
        assert costs.logins(machine) == pytest.approx(2_000)
        assert costs.events(machine, 1) == pytest.approx(0.5e6 / 55.5)
        assert costs.events(machine, 1_000) == pytest.approx(0.5e6 / 555)

    def test_an_incomplete_run_names_the_missing_figures(self) -> None:
        figures = [figure for figure in self.results["figures"] if figure["scenario"] != "growth"]
        assert "cost of an event, 10 clients of one topic" in capacity.text(figures)


def test_clients_return_with_tokens_and_get_missed_events() -> None:
    with redis_server() as port, ExitStack() as stack:
        setting, audience = Setting(port, 1, quick=True), Audience.personal(3)
        side = stack.enter_context(with_recovery(setting, audience))
        options = {"port": side.port, "dialect": side.dialect}
        load = stack.enter_context(program("websocket_load", **options))
        load.ask({"open": {"paths": side.paths, "topics": audience.topics}})
        publisher = stack.enter_context(side.publisher(audience.published))
        for _ in range(2):  # the second time with the tokens of the first return
            assert load.ask({"drop": {}}) == {"dropped": 3}
            publisher.ask({"count": 6, "pace": 0.0})
            missed = {"path": "/wss/user", "received": 0, "mark": MARK, "missed": 2}
            assert load.ask({"return": missed})["seconds"] > 0
            load.ask({"drop": {}})
            missed = {"path": "/wss/user", "received": 2, "mark": MARK, "missed": 0}
            load.ask({"return": missed})


def test_clients_follow_a_shared_topic_and_one_of_their_own() -> None:
    with (
        redis_server() as port,
        connected_to_both(ours, Setting(port, 1, quick=True), 3) as gateways,
    ):
        assert [gateway.measure(each=2).lost for gateway in gateways] == [0.0, 0.0]


def test_each_event_is_timed_at_each_websocket() -> None:
    with connected(null, Setting(0, 1, quick=True), Audience.shared(3)) as gateway:
        seconds = gateway.latencies(each=20, pace=0.001)
    assert len(seconds) == 60
    assert min(seconds) > 0


def test_all_deliveries_of_a_gateway_are_counted() -> None:
    with connected(null, Setting(0, 1, quick=True), Audience.shared(3)) as gateway:
        delivered = gateway.measure(each=700)
    assert delivered.lost == 0.0


class Scripted:
    """A publisher and a load generator whose gateway delivers so many events a second.

    Attributes:
        bursts: Events for each websocket and seconds between events, of each publication.
    """

    def __init__(self, websockets: int, per_second: float) -> None:
        self.bursts: list[tuple[int, float]] = []
        self._websockets = websockets
        self._per_second = per_second

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        if "pace" in command:
            self.bursts.append((command["count"], command["pace"]))
        return {"started": 0.0}

    def report(self) -> dict[str, float]:
        count, pace = self.bursts[-1]
        wanted = count * self._websockets
        seconds = max(wanted / self._per_second, pace * count)
        return {"last": seconds, "delivered": wanted, "wanted": wanted, "cpu_share": 0.0}


def measured(per_second: float, pace: float = 0.0) -> tuple[list[tuple[int, float]], Delivered]:
    """Return the publications of a measurement after the warm-up, and its result."""
    audience, scripted = Audience.shared(100), Scripted(100, per_second)
    child: Any = scripted
    side = Side("a gateway", "plain", 0, (), [], lambda _: nullcontext(child))
    gateway = Connected(side, child, child, audience, 100).warmed_up()
    del scripted.bursts[:]
    return scripted.bursts, gateway.measure(1_000, pace, times=10)


def test_the_pace_of_the_warm_up_limits_no_burst() -> None:
    bursts, delivered = measured(per_second=2e6)
    assert bursts[-10:] == [(1_000, 0.0)] * 10
    assert delivered.per_second == pytest.approx(2e6)


def test_the_pace_of_the_warm_up_limits_no_paced_events() -> None:
    bursts, _ = measured(per_second=2e6, pace=0.002)
    assert bursts[-10:] == [(1_000, 0.002)] * 10


def test_a_slow_gateway_gets_events_for_two_seconds() -> None:
    bursts, delivered = measured(per_second=3_000)
    assert bursts[-1] == (60, 0.0)
    assert delivered.per_second == pytest.approx(3_000)


def test_a_very_slow_gateway_has_its_warm_up_measured() -> None:
    bursts, delivered = measured(per_second=40)
    assert not bursts
    assert delivered.per_second == pytest.approx(40)


def test_senders_visit_one_part_of_the_slots_after_another() -> None:
    topics = [personal(number) for number in range(60)]
    sent = list(in_turn(topics, 3))
    assert Counter(sent) == dict.fromkeys(topics, 3)
    parts = [part_of(topic) for topic in sent]
    assert parts == sorted(parts)
    assert set(parts) == set(range(PARTS))


def test_more_websockets_open_after_the_first_measurement() -> None:
    with connected(null, Setting(0, 1, quick=True), Audience.shared(3), at_first=1) as gateway:
        assert len(gateway.latencies(each=5, pace=0.001)) == 5
        gateway.open_others()
        assert len(gateway.latencies(each=5, pace=0.001)) == 15
