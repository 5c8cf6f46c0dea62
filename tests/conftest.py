"""Ends what the tests share."""

import pytest

from .browser import shared_browser
from .support import shared_server


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Stop the server and the browser, if a test has started them."""
    if shared_browser.cache_info().currsize:
        shared_browser().quit()
    if shared_server.cache_info().currsize:
        shared_server().stop()
