"""Answers ``add`` over NATS, in JSON both ways. Run by the rivals' Python."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version

import nats  # type: ignore[import-not-found]  # in the rivals' environment
from nats.aio.msg import Msg  # type: ignore[import-not-found]

from benchmarks.programs.options import parse_options


async def serve(port: int, subject: str) -> None:
    """Serve until the process is ended."""
    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def answer(message: Msg) -> None:
        request = json.loads(message.data)
        reply = {
            "method": request["method"],
            "id": request["id"],
            "pattern": subject,
            "status": "OK",
            "return_value": sum(request["args"]),
        }
        await message.respond(json.dumps(reply).encode())

    await connection.subscribe(subject, cb=answer)
    await connection.flush()
    server = connection.connected_server_version
    numbers = f"{server.major}.{server.minor}.{server.patch}"
    print(json.dumps({"client": version("nats-py"), "server": numbers}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    options = parse_options(port=int, subject=str)
    asyncio.run(serve(options.port, options.subject))
