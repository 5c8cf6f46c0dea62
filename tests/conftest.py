"""Session setup: long timeouts, Ctrl-C for child programs, frozen modules, shared servers."""

import gc
import os
import signal
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata

import pytest

# Its only plugin would import all of trio.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")
from hypothesis import HealthCheck, settings
from twisted.trial import util

from tests.faults.cluster import proxied_cluster
from tests.helpers.browser import shared_browser
from tests.helpers.cluster import shared_cluster
from tests.helpers.support import GUARD, ROOT, shared_server

# A busy machine must not fail a test. make soak tries more examples.
settings.register_profile(
    "patient",
    settings.default,
    deadline=None,
    max_examples=int(os.environ.get("EXAMPLES") or 40),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")
util.DEFAULT_TIMEOUT_DURATION = GUARD
# pytest looks up the version of Twisted at each test, and each time parses all its metadata.
vars(metadata)["version"] = cache(metadata.version)

pytest_plugins = ["tests.helpers.hangs"]

# Background jobs of a shell ignore SIGINT, and programs under nohup SIGHUP. Child processes would
# inherit that, and never see the signals that tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection(session: pytest.Session) -> None:
    """Import the tests of a whole run in a different order in each process of pytest-xdist.

    In a fresh checkout, each process then rewrites and compiles a part of them for all. The garbage
    collector would find nothing in what the collection makes.
    """
    gc.disable()
    paths = session.config.getini("testpaths")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or session.config.args != paths:
        return
    left_out = {ROOT / path for path in session.config.getoption("ignore")}
    files = [
        file
        for path in paths
        for file in sorted((ROOT / path).rglob("test_*.py"))
        if left_out.isdisjoint(file.parents)
    ]
    begin = (
        len(files) * int(worker.removeprefix("gw")) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    )
    for file in files[begin:] + files[:begin]:
        with suppress(Exception, pytest.skip.Exception):  # the collection reports them
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Freeze modules and collected tests, which each full collection of garbage would visit."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Stop the shared server, clusters and browser."""
    if proxied_cluster.cache_info().currsize:
        proxied_cluster().stop()
    if shared_browser.cache_info().currsize:
        shared_browser().quit()
    if shared_cluster.cache_info().currsize:
        shared_cluster().stop()
    if shared_server.cache_info().currsize:
        shared_server().stop()
