"""An asyncio event loop in a thread, for tests whose reactor runs in the main thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.helpers.support import GUARD


class LoopThread:
    """A running event loop, and calls of coroutine functions in it.

    Args:
        loop: The event loop; None makes one of asyncio.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = asyncio.new_event_loop() if loop is None else loop
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], Awaitable[Any]]) -> Deferred[Any]:
        """Await a coroutine function in the event loop; cancelling the Deferred cancels it."""

        async def awaited() -> Any:
            return await function()

        def begin() -> None:
            future = asyncio.run_coroutine_threadsafe(awaited(), self.loop)
            futures.append(future)
            future.add_done_callback(lambda _: services.callFromThread(end, future))

        def end(future: Future[Any]) -> None:
            if result.called:
                return
            if future.cancelled():
                result.cancel()
            elif (error := future.exception()) is not None:
                result.errback(error)
            else:
                result.callback(future.result())

        def cancel(_: object) -> None:
            for future in futures:
                future.cancel()

        services: Any = reactor
        futures: list[Future[Any]] = []
        result: Deferred[Any] = Deferred(cancel)
        services.callWhenRunning(begin)  # trial begins a test before the reactor runs
        return result

    def stop(self) -> Deferred[None]:
        """Cancel all tasks and close the event loop; fires when its thread has ended."""
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop)
        return deferToThread(self._join)

    async def _stop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or {asyncio.ensure_future(asyncio.sleep(0))}, timeout=GUARD)
        self.loop.call_soon(self.loop.stop)

    def _join(self) -> None:
        self._thread.join(GUARD)
        self.loop.close()
