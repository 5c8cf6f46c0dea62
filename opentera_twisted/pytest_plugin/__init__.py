"""pytest fixtures for programs that use the bus: ``memory_bus``, ``redis_server``, ``gateway``.

pytest loads this module at its start in every project of the environment, so each fixture imports
what it needs.

servers  the Redis server and the gateway of the fixtures
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opentera_twisted.pytest_plugin.servers import RedisServer, RunningGateway
    from opentera_twisted.testing import MemoryBus


@pytest.fixture
def memory_bus() -> Iterator[MemoryBus]:
    """A `MemoryBus`: a connected bus with a Redis in memory, and a clock that the test controls."""
    from opentera_twisted.testing import MemoryBus  # noqa: PLC0415

    bus = MemoryBus()
    yield bus
    bus.stopService()


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    from opentera_twisted.pytest_plugin.servers import RedisServer  # noqa: PLC0415

    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """A real Redis server, empty at the start of each test; ``redis_server.url`` names it.

    It needs the extra ``embedded``, or ``valkey-server`` or ``redis-server`` on ``PATH``. All tests
    of a session share its process.
    """
    _redis_server.flush()
    return _redis_server


@pytest.fixture
def gateway(redis_server: RedisServer) -> Iterator[RunningGateway]:
    """A websocket gateway on ``redis_server``: ``gateway.url``, and ``gateway.bus`` to act on it.

    It runs in the reactor's thread, and needs the extra ``blocking``.
    """
    from opentera_twisted.pytest_plugin.servers import RunningGateway  # noqa: PLC0415

    running = RunningGateway(redis_server.url)
    yield running
    running.stop()
