"""A process that publishes events on time, whatever the process with the clients does."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Final

import redis

from opentera_twisted import topics
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.helpers.processes import Process

SHARED: Final = topics.service_events("Shared")
"""A topic of all people, besides their own."""

STEP: Final = 20
"""Events from one line of output to the next."""

_TOTAL: Final = re.compile(r"total (\d+) ")


def event_name(number: int) -> str:
    """Return the name of an event, counted from 1."""
    return f"event {number}"


def receivers(number: int, people: int) -> range:
    """Return the numbers of the people to whom an event is published: one, or all."""
    turn = (number - 1) % (people + 1)
    return range(people) if turn == people else range(turn, turn + 1)


class Publisher:
    """The process, started with its first events published.

    Args:
        url: URL of Redis.
        pace: Seconds from one event to the next.
        uuids: UUIDs of the people.
    """

    def __init__(self, url: str, pace: float, uuids: Sequence[str]) -> None:
        code = f"from {__name__} import main; main()"
        self.process = Process(sys.executable, "-c", code, url, str(pace), *uuids, fork=True)

    async def wait(self, events: int) -> None:
        """Wait until that many more events are published."""
        published = self.process.output.count("\n") * STEP
        await self.process.says(f"published {-(-(published + events) // STEP) * STEP}\n")

    async def stop(self) -> int:
        """Stop; return the number of all events."""
        self.process.send(signal.SIGTERM)
        await self.process.ended()
        total = _TOTAL.search(self.process.output)
        assert total is not None, self.process.output
        return int(total[1])


def main() -> None:
    """Publish until SIGTERM."""
    url, pace, *uuids = sys.argv[1:]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    own = [topics.websocket_events("user", uuid) for uuid in uuids]
    count = 0
    began = monotonic()
    with redis.Redis.from_url(url, protocol=2) as client:
        while not stopped:
            count += 1
            numbers = receivers(count, len(own))
            topic = SHARED if len(numbers) > 1 else own[numbers[0]]
            event = tera_event(topic, [UserEvent(user_fullname=event_name(count))])
            client.publish(topic, event.SerializeToString())
            if count % STEP == 0:
                _say(f"published {count}")
            sleep(max(0.0, began + count * float(pace) - monotonic()))
    _say(f"total {count} in {monotonic() - began:.1f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
