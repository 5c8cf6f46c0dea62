"""Ends what the tests share, lets tests take their time, and Ctrl-C reach programs."""

import signal

import pytest
from hypothesis import HealthCheck, settings
from twisted.trial import util

from tests.helpers.browser import shared_browser
from tests.helpers.support import GUARD, shared_server

# A machine that is busy with something else is no fault of a test.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
util.DEFAULT_TIMEOUT_DURATION = GUARD

# A shell has background jobs ignore it, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Stop the server and the browser, if a test has started them."""
    if shared_browser.cache_info().currsize:
        shared_browser().quit()
    if shared_server.cache_info().currsize:
        shared_server().stop()
