"""The bus for asyncio: `AsyncioBus` has the methods of `Bus`, awaitable in any event loop.

bus         `AsyncioBus`
deliveries  `Deliveries`: a subscription as an asynchronous iterator
loops       calls from the reactor's thread to an event loop
"""

from opentera_twisted.aio.bus import (
    AsyncioBus,
    AsyncioPresence,
    AsyncioProxy,
    AsyncioRedis,
    AsyncioVariables,
    Handle,
)
from opentera_twisted.aio.deliveries import Deliveries, Gap

__all__ = [
    "AsyncioBus",
    "AsyncioPresence",
    "AsyncioProxy",
    "AsyncioRedis",
    "AsyncioVariables",
    "Deliveries",
    "Gap",
    "Handle",
]
