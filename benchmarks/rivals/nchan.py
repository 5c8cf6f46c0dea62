"""nchan, a module of nginx (C), with Redis; events are published through its HTTP location."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.children import running
from benchmarks.events import event, text
from benchmarks.gateways.side import Audience, Side, publishing
from benchmarks.rivals.environments import debian
from benchmarks.scenario import Setting
from tools.ports import free_port

_CONFIGURATION: Final = """
load_module {modules}/ngx_nchan_module.so;
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log /dev/stderr notice;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 128k;
    keepalive_requests 10000000;
    nchan_max_reserved_memory 512M;
    upstream redis {{ nchan_redis_server redis://127.0.0.1:{redis_port}; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        nchan_redis_pass redis;
        nchan_redis_storage_mode nostore;
        nchan_channel_id $arg_topic;
        location = /publish {{ nchan_publisher http; }}
        location = /subscribe {{
            nchan_subscriber websocket;
            nchan_subscriber_first_message newest;
            nchan_websocket_ping_interval 0;
        }}
    }}
}}
"""
"""One worker, and Redis for pub/sub alone: nothing is kept."""

_START: Final = (
    "mount -t tmpfs none /var/lib && mkdir /var/lib/nginx && "
    'exec "$0" -p "$1" -c "$1/nginx.conf" -e /dev/stderr 2>&1'
)
"""Debian's nchan insists on a folder there, whatever its configuration says: it gets its own."""


@contextmanager
def nchan(setting: Setting, audience: Audience) -> Iterator[Side]:
    """nginx with nchan, unpacked from Debian's packages.

    A websocket has one topic: more would make a channel of its own of each client.
    """
    assert not audience.common
    root = debian("nchan", "nginx", "libnginx-mod-nchan")
    binary = str(root / "usr/sbin/nginx")
    output = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    archive = next(root.glob("libnginx-mod-nchan_*.deb")).name
    version = archive.split("_")[1].removeprefix("1%3a").partition("+")[0]

    def published(topic: str) -> bytes:
        body = text(event(topic, audience.size))
        return (
            f"POST /publish?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    port = free_port()
    with TemporaryDirectory() as folder:
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                modules=root / "usr/lib/nginx/modules",
                folder=folder,
                port=port,
                redis_port=setting.port,
            )
        )
        command = ["/usr/bin/env", "unshare", "--mount", "--map-root-user", "/bin/sh", "-c", _START]
        with running(*command, binary, folder) as server:
            server.wait_for_line("Redis", "connected")
            server.discard_output()
            yield Side(
                who=f"nchan {version}, {output.strip().partition(': ')[2]}, one worker",
                dialect="plain",
                port=port,
                pids=server.family(),
                paths=[f"/subscribe?topic={topic}" for topic in audience.topics],
                publisher=lambda topics: publishing(port, [published(topic) for topic in topics]),
            )
