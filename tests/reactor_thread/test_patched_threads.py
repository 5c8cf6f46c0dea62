"""gevent and eventlet replace threads: the error names the alternative; nothing hangs."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from opentera_twisted import PatchedThreads
from opentera_twisted.reactor_thread.real_threads import check_threads
from tests.helpers.processes import BlockingProgramTestCase

PATCH = "from gevent import monkey; monkey.patch_all()"


class GeventTests(BlockingProgramTestCase):
    async def test_importing_the_blocking_bus_raises(self) -> None:
        process = self.program("", before=PATCH, fork=False)
        assert await process.ended() == 1
        assert "PatchedThreads: gevent has replaced this process's threads" in process.output
        assert "--worker-class gthread" in process.output

    async def test_the_first_call_raises(self) -> None:
        process = self.program(
            f"""
            bus = BlockingBus(url)
            {PATCH}
            try:
                bus.variables.get("a")
            except PatchedThreads as error:
                print("raised:", error)
            """,
            fork=False,
        )
        assert await process.ended() == 0, process.output
        assert "raised: gevent has replaced" in process.output

    async def test_gevent_without_its_threads_does_no_harm(self) -> None:
        code = "import gevent\nprint(BlockingBus(url).variables.get('a'))"
        process = self.program(code, fork=False)
        assert await process.ended() == 0, process.output
        assert process.output.strip() == "None"


@pytest.mark.parametrize("is_patched", [True, False])
def test_eventlet_is_noticed(monkeypatch: pytest.MonkeyPatch, is_patched: bool) -> None:
    patcher = ModuleType("eventlet.patcher")
    vars(patcher).update(vars(SimpleNamespace(is_monkey_patched=lambda _: is_patched)))
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    if not is_patched:
        check_threads()
        return
    with pytest.raises(PatchedThreads, match="eventlet"):
        check_threads()
