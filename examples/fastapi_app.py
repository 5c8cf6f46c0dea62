"""A FastAPI endpoint that awaits the bus.

    REDIS_URL=redis://127.0.0.1:6379/0 uvicorn --app-dir examples fastapi_app:app

``/add?a=1&b=2`` calls the procedure ``add`` of the service ``Calculator``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException

from opentera_twisted import CallError
from opentera_twisted.aio import AsyncioBus


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the bus after the last request."""
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    async with AsyncioBus(url, name="fastapi") as app.state.bus:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/add")
async def add(a: int, b: int) -> dict[str, Any]:
    """Call a procedure of a service."""
    try:
        return {"sum": await app.state.bus.call_service("Calculator", "add", a, b, timeout=5)}
    except CallError as error:
        raise HTTPException(502, str(error)) from None
