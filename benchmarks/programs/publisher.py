"""Sends prepared bytes over one connection, in a burst or paced: it encodes nothing meanwhile.

A line of JSON on standard input says what to send; each one after that how often and how fast:

    {"greetings": [[send, expect], …], "events": [bytes, …]}     bytes as hexadecimal digits
    {"count": 200, "pace": 0.002}       so many events, one each so many seconds, or at once
"""

from __future__ import annotations

import json
import socket
import sys
from itertools import cycle, islice
from threading import Thread
from time import perf_counter, sleep
from typing import Any

from benchmarks.programs.options import parse_options


def discard(connection: socket.socket) -> None:
    """Read replies, so that they never make the other side wait."""
    while connection.recv(1 << 16):
        pass


def greet(connection: socket.socket, send: bytes, expect: bytes) -> None:
    """Say something and wait for what it is answered."""
    connection.sendall(send)
    received = b""
    while expect not in received:
        more = connection.recv(65_536)
        assert more, f"{expect!r} was expected, and not {received!r}"
        received += more


def publish(connection: socket.socket, events: list[bytes], pace: float) -> dict[str, Any]:
    """Send all events; when it began, and when each was sent that was paced."""
    joined = b"".join(events)
    start = perf_counter()
    sent = []
    if not pace:
        connection.sendall(joined)
    else:
        for number, event in enumerate(events):
            sleep(max(0.0, start + number * pace - perf_counter()))
            sent.append(perf_counter())
            connection.sendall(event)
    return {"started": start, "sent": sent}


if __name__ == "__main__":
    options = parse_options(port=int)
    with socket.create_connection(("127.0.0.1", options.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        prepared = json.loads(sys.stdin.readline())
        for send, expect in prepared["greetings"]:
            greet(connection, bytes.fromhex(send), bytes.fromhex(expect))
        endless = cycle([bytes.fromhex(event) for event in prepared["events"]])
        Thread(target=discard, args=(connection,), daemon=True).start()
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            events = list(islice(endless, command["count"]))
            print(json.dumps(publish(connection, events, command["pace"])), flush=True)
