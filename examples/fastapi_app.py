"""A FastAPI endpoint that awaits the bus, on the running asyncio loop.

    REDIS_URL=redis://127.0.0.1:6379/0 uvicorn --app-dir examples fastapi_app:app

``/add?a=1&b=2`` calls the procedure ``add`` of the service ``Calculator``. Twisted has one reactor
per process, and the first import installs it. Import whatever uses the bus after the loop runs.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from twisted.internet import asyncioreactor


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect before the first request, and disconnect after the last one."""
    loop = asyncio.get_running_loop()
    asyncioreactor.install(loop)
    from twisted.internet import reactor  # noqa: PLC0415 (the one just installed)

    from opentera_twisted import Bus  # noqa: PLC0415 (it imports the reactor)

    reactor.startRunning(installSignalHandlers=False)  # type: ignore[attr-defined]
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    app.state.bus = Bus(url, reactor=reactor, name="fastapi")
    app.state.bus.startService()
    yield
    await app.state.bus.stopService().asFuture(loop)
    reactor.getThreadPool().stop()  # type: ignore[attr-defined]


app = FastAPI(lifespan=lifespan)


@app.get("/add")
async def add(a: int, b: int) -> dict[str, Any]:
    """Call a procedure of a service."""
    from opentera_twisted import CallError  # noqa: PLC0415

    calling = app.state.bus.call_service("Calculator", "add", a, b, timeout=5)
    try:
        return {"sum": await calling.asFuture(asyncio.get_running_loop())}
    except CallError as error:
        raise HTTPException(502, str(error)) from None
