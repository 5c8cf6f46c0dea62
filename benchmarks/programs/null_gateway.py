"""A gateway that does nothing: for each byte on its other port it sends a prepared frame to all.

Its deliveries are the maximum of the load generator and the kernel.
"""

from __future__ import annotations

import json
import socket
from threading import Thread

from benchmarks.programs.options import parse_options

ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: unchecked\r\n\r\n"
)

AT_ONCE = 64
"""Frames in one write, at most."""


def accept_all(listener: socket.socket, clients: list[socket.socket]) -> None:
    """Accept all clients, one after another."""
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.recv(4096)
        client.sendall(ACCEPT)
        clients.append(client)


def deliver(publisher: socket.socket, frame: bytes, clients: list[socket.socket]) -> None:
    """Send frames on request."""
    while count := len(publisher.recv(AT_ONCE)):
        frames = frame * count
        for client in clients:
            client.sendall(frames)


if __name__ == "__main__":
    options = parse_options(frame=bytes.fromhex)
    clients: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    publishers = socket.create_server(("127.0.0.1", 0))
    Thread(target=accept_all, args=(listener, clients), daemon=True).start()
    ports = [server.getsockname()[1] for server in (listener, publishers)]
    print(json.dumps({"port": ports[0], "publisher_port": ports[1]}), flush=True)
    while True:
        deliver(publishers.accept()[0], options.frame, clients)
