"""Tests of the FastAPI example, to copy: python -m pytest examples/test_fastapi_app.py.

The fixture ``redis_server`` comes with the package.
"""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from fastapi_app import app  # type: ignore[import-not-found]  # pytest finds it beside this file

from opentera_twisted import Procedures
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.pytest_plugin.servers import RedisServer

procedures = Procedures()


@procedures.expose
def add(a: int, b: int) -> int:
    """Add two numbers, as the service does."""
    return a + b


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Start the application for one test."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    with TestClient(app) as client:
        yield client


def test_a_sum_is_computed_by_the_service(client: TestClient, redis_server: RedisServer) -> None:
    """The application calls the service."""
    with BlockingBus(redis_server.url) as bus:
        bus.serve_service("Calculator", procedures)
        assert client.get("/add?a=1&b=2").json() == {"sum": 3}


def test_a_missing_service_is_a_bad_gateway(client: TestClient) -> None:
    """The application reports that nobody answers."""
    response = client.get("/add?a=1&b=2")
    assert response.status_code == 502
    assert "nobody listens" in response.json()["detail"]
