"""`Deliveries`: a subscription as an asynchronous iterator with a bound and gap markers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context, copy_context
from inspect import isawaitable
from types import TracebackType
from typing import Final, NoReturn, Self

from attrs import frozen
from twisted.logger import Logger

from opentera_twisted.pubsub import Delivery

ITEMS_PER_TURN: Final = 64
"""Number of queued items after which an iteration lets other tasks run."""


@frozen
class Gap:
    """Marks a place in `Deliveries` where messages may be missing: load the current state again.

    Attributes:
        topic: the topic or pattern of the subscription.

    Example:
        >>> item = Gap("service.Bell.events")
        >>> if isinstance(item, Gap):
        ...     print("load the current state again")
        load the current state again
    """

    topic: str

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"a Gap has no {name!r}: messages may be missing here; check isinstance(item, Gap) "
            "first"
        )


class Items:
    """A bounded queue from the reactor's thread to one event loop.

    Above the bound, the oldest deliveries are dropped, and a `Gap` takes their place.

    Args:
        loop: event loop of the reader.
        topic: the topic or pattern.
        max_pending: maximum number of queued items.
        on_dropped: called in the reactor's thread when the queue begins to drop.
        on_closed_loop: called in the reactor's thread when the event loop is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        topic: str,
        max_pending: int,
        on_dropped: Callable[[], None],
        on_closed_loop: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._topic = topic
        self._max_pending = max_pending
        self._on_dropped = on_dropped
        self._on_closed_loop = on_closed_loop
        self._lock = threading.Lock()
        self._pending: deque[Delivery | Gap] = deque()
        self._has_dropped = False
        self._is_ended = False
        self._is_woken = False
        self._news = asyncio.Event()
        self._count = 0

    def put(self, delivery: Delivery) -> None:
        """Queue a delivery, in the reactor's thread."""
        with self._lock:
            if self._is_ended:
                return
            begins = False
            if len(self._pending) >= self._max_pending:
                self._pending.popleft()
                begins, self._has_dropped = not self._has_dropped, True
            self._pending.append(delivery)
        if begins:
            self._on_dropped()
        self._wake()

    def put_gap(self) -> None:
        """Queue a gap, in the reactor's thread."""
        with self._lock:
            if self._is_ended:
                return
            if len(self._pending) >= self._max_pending:
                self._pending.popleft()
                self._has_dropped = True
            self._pending.append(Gap(self._topic))
        self._wake()

    def end(self) -> None:
        """Drop all items and end the iteration, in any thread."""
        with self._lock:
            self._is_ended = True
            self._pending.clear()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._is_woken:
                return
            self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            self._on_closed_loop()

    async def get(self) -> Delivery | Gap | None:
        """Wait for the next item, in the event loop; return None after the end."""
        self._count += 1
        if self._count % ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)
        while True:
            with self._lock:
                if self._is_ended:
                    return None
                if self._has_dropped:
                    self._has_dropped = False
                    return Gap(self._topic)
                if self._pending:
                    return self._pending.popleft()
                self._is_woken = False
                self._news.clear()
            await self._news.wait()


class _ContextDelivery(Delivery):
    """A delivery with the context variables of its arrival."""

    context: Context


class ContextItems(Items):
    """A queue whose deliveries keep the context variables of their arrival."""

    def put(self, delivery: Delivery) -> None:
        """Queue a delivery, in the reactor's thread."""
        kept = _ContextDelivery(*delivery)
        kept.context = copy_context()
        super().put(kept)


def in_context(
    handler: Callable[[Delivery], Awaitable[object] | object],
) -> Callable[[Delivery], Awaitable[object]]:
    """Call a handler with the context variables of each delivery of `ContextItems`."""

    async def handle(delivery: Delivery) -> None:
        if not isinstance(delivery, _ContextDelivery):
            raise TypeError("expected a delivery of ContextItems")
        context = delivery.context
        result = context.run(handler, delivery)
        if isawaitable(result):
            await asyncio.get_running_loop().create_task(_awaited(result), context=context)

    return handle


async def _awaited(result: Awaitable[object]) -> object:
    return await result


_log: Final = Logger()


async def call_handlers(
    items: Items,
    what: str,
    handler: Callable[[Delivery], Awaitable[object] | object],
    on_gap: Callable[[], Awaitable[object] | object] | None,
) -> None:
    """Call handlers with each item in order, and await the coroutines that they return."""
    task = asyncio.current_task()
    while (item := await items.get()) is not None:
        try:
            if isinstance(item, Delivery):
                result = handler(item)
            else:
                result = None if on_gap is None else on_gap()
            if isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError):  # as in `Bus`: logged
            if task is not None and task.cancelling():  # the program cancels all tasks
                raise
            _log.failure("{what} failed", what=what)


Open = Callable[[], Awaitable[tuple[Items, Callable[[], Awaitable[None]]]]]
"""Subscribes; returns the items, and a function that ends the subscription."""


class Deliveries:
    """A subscription: ``async for delivery in bus.subscription(topic)``.

    The iteration yields each `Delivery`, and a `Gap` where messages may be missing. A loss of the
    link makes a gap, and more than ``max_pending`` waiting deliveries do too. It subscribes at its
    start and unsubscribes at its end. As an asynchronous context manager, the subscription lasts
    for the block, from the acknowledgement by Redis on::

        async with bus.subscription("topic") as deliveries:
            await bus.publish("topic", "x")
            async for delivery in deliveries:
                ...

    The iteration ends when the bus is closed.

    Args:
        topic: the topic or pattern.
        open: subscribes.

    Example:
        >>> async with bus.subscription("service.Bell.events") as deliveries:
        ...     receivers = await bus.publish("service.Bell.events", "ring")
        ...     async for delivery in deliveries:
        ...         print(delivery.payload)
        ...         break
        b'ring'
    """

    def __init__(self, topic: str, open: Open) -> None:  # noqa: A002 (the verb)
        self._topic = topic
        self._open = open
        self._items: Items | None = None
        self._close: Callable[[], Awaitable[None]] | None = None

    def __repr__(self) -> str:
        status = "idle" if self._items is None else "active"
        return f"<{type(self).__name__} of {self._topic!r}: {status}>"

    async def __aenter__(self) -> Self:
        if self._items is None:
            self._items, self._close = await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Unsubscribe and end the iteration."""
        close, self._close, self._items = self._close, None, None
        if close is not None:
            await close()

    async def __aiter__(self) -> AsyncIterator[Delivery | Gap]:
        is_own = self._items is None
        await self.__aenter__()
        items = self._items
        try:
            while items is not None and (item := await items.get()) is not None:
                yield item
        finally:
            if is_own:
                await self.aclose()
