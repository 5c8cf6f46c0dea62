"""Tests of the ports that tests and benchmarks reserve."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.helpers.support import GUARD, ROOT, Server
from tools.ports import FIRST, candidates, free_port, reserve

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a port is released before its server binds it"
)

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

IN_ANOTHER_PROCESS = """
import json, sys
from tools.ports import reserve
print(json.dumps(reserve(map(int, sys.argv[1:]))))
"""


def reserved_elsewhere(*ports: int) -> int:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *map(str, ports)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=GUARD, check=True)
    return int(json.loads(done.stdout))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server's socket, which can listen on a reserved port as servers do."""
    with closing(socket.socket()) as created:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield created


def test_no_outgoing_connection_gets_a_reserved_port() -> None:
    first, last = map(int, RANGE.read_text().split())
    if first <= FIRST:
        pytest.skip("this system has no room below the ports of outgoing connections")
    assert not any(first <= free_port() <= last for _ in range(20))


def test_a_process_never_reserves_a_port_twice() -> None:
    port, other = free_port(), free_port()
    assert reserve([port, other, 0]) not in {port, other}


def test_two_processes_never_reserve_the_same_port() -> None:
    port = free_port()
    assert reserved_elsewhere(port, 0) != port


def test_the_end_of_a_process_releases_its_ports() -> None:
    port = reserved_elsewhere(*candidates())
    assert reserve([port, 0]) == port


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "0.0.0.0"])
def test_a_port_in_use_at_any_address_is_not_reserved(address: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind((address, 0))
        port = taken.getsockname()[1]
        assert reserve([port, 0]) != port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_server_can_listen_on_a_reserved_port(address: str, listener: socket.socket) -> None:
    port = free_port()
    listener.bind((address, port))
    listener.listen()
    socket.create_connection(("127.0.0.1", port), GUARD).close()


def test_a_cluster_node_has_a_reserved_port_for_its_bus(tmp_path: Path) -> None:
    node = Server("--cluster-enabled", "yes", "--dir", str(tmp_path))
    try:
        with closing(redis.Redis(port=node.port)) as client:
            assert client.config_get("cluster-port") != {"cluster-port": "0"}
    finally:
        node.stop()


def test_a_reserved_port_refuses_connections() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port()), GUARD)


def test_the_system_chooses_a_port_where_there_is_no_room() -> None:
    assert list(candidates(ephemeral_from=FIRST)) == [0]
    assert reserve(candidates(ephemeral_from=FIRST)) > 0


def test_processes_begin_their_search_at_different_ports() -> None:
    beginnings = {next(iter(candidates())) for _ in range(20)}
    assert len(beginnings) > 1
    assert sorted(candidates(ephemeral_from=FIRST + 3)) == [0, FIRST, FIRST + 1, FIRST + 2]
