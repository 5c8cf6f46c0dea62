"""Waits until the gateway has reported its users: what a login is worth to the rest of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import redis

from benchmarks.scenario import Setting
from opentera_twisted import topics
from opentera_twisted.messages import TeraModuleMessage, UserEvent

_TOPIC: Final = topics.module_messages(topics.USER_MANAGER_MODULE)
_TIMEOUT: Final = 30.0
"""Seconds to wait for the next report."""


def forget_everyone(setting: Setting) -> None:
    """Empty Redis: whom a gateway that was killed has held would not be reported as coming."""
    with redis.Redis(port=setting.port, protocol=2) as client:
        client.flushall()


@contextmanager
def awaiting_reports(
    setting: Setting, count: int, change: UserEvent.EventType = UserEvent.USER_CONNECTED
) -> Iterator[Callable[[], float]]:
    """Listen for so many users; the function returns when the last of them was reported."""
    with redis.Redis(port=setting.port, protocol=2) as client, ThreadPoolExecutor(1) as executor:
        pubsub = client.pubsub()
        pubsub.subscribe(_TOPIC)
        pubsub.get_message(timeout=_TIMEOUT)
        yield executor.submit(_last_report, pubsub, count, change).result


def _last_report(pubsub: redis.client.PubSub, count: int, change: UserEvent.EventType) -> float:
    reported: set[str] = set()
    last = perf_counter()
    while len(reported) < count:
        message = pubsub.get_message(timeout=_TIMEOUT)
        if message is None:  # of half a message too
            if perf_counter() - last > _TIMEOUT:
                raise RuntimeError(f"{len(reported)} of {count} users are reported")
            continue
        last = perf_counter()
        for packed in TeraModuleMessage.FromString(message["data"]).data:
            event = UserEvent()
            if packed.Unpack(event) and event.type == change:
                reported.add(event.user_uuid)
    return perf_counter()
