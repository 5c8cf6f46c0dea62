"""Session setup: long timeouts, Ctrl-C for child programs, frozen modules, shared servers."""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from twisted.trial import util

from tests.helpers.browser import shared_browser
from tests.helpers.cluster import shared_cluster
from tests.helpers.support import GUARD, shared_server

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

pytest_plugins = ["tests.helpers.hangs"]

# Background jobs of a shell ignore SIGINT, and programs under nohup SIGHUP. Child processes would
# inherit that, and never see the signals that tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_finish() -> None:
    """Freeze modules and collected tests, which each full collection of garbage would visit."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Stop the shared server, cluster and browser."""
    if shared_browser.cache_info().currsize:
        shared_browser().quit()
    if shared_cluster.cache_info().currsize:
        shared_cluster().stop()
    if shared_server.cache_info().currsize:
        shared_server().stop()
