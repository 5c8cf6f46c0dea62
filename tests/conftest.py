"""Ends what the tests share."""

import pytest

from .support import shared_server


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Stop the server, if a test has started it."""
    if shared_server.cache_info().currsize:
        shared_server().stop()
