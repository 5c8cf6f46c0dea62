"""A gateway that does nothing, behind Redis: for each message it sends a prepared frame to all.

It knows a message by its length, and decodes nothing.
"""

from __future__ import annotations

import json
import socket
from threading import Thread

from benchmarks.programs.bare import Connection, array
from benchmarks.programs.null_gateway import accept_all
from benchmarks.programs.options import parse_options

if __name__ == "__main__":
    options = parse_options(
        redis_port=int, topic=str.encode, message=bytes.fromhex, frame=bytes.fromhex
    )
    clients: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    Thread(target=accept_all, args=(listener, clients), daemon=True).start()
    messages = Connection(options.redis_port, timeout=None)
    messages.subscribe(options.topic)
    delivered = array(b"message", options.topic, options.message)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        messages.expect(delivered)
        for client in clients:
            client.sendall(options.frame)
