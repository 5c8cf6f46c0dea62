"""One gateway of a comparison: where its websockets are, and how events are published for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from attrs import evolve, frozen

from benchmarks.children import Child, program
from benchmarks.events import SIZE
from benchmarks.programs.bare import array
from benchmarks.scenario import Setting

_SHARED: Final = "service.Bench.events"


@frozen
class Audience:
    """Topics of websockets.

    Attributes:
        topics: Topic of each websocket: all equal, or all different.
        size: bytes of an event's text.
        common: Second topic of each websocket, or an empty string.
    """

    topics: tuple[str, ...]
    size: int = SIZE
    common: str = ""

    @property
    def published(self) -> list[str]:
        """Each topic once."""
        return list(dict.fromkeys(self.topics))

    @property
    def followed(self) -> list[str]:
        """Topics of each websocket, separated by commas."""
        return [f"{topic},{self.common}" if self.common else topic for topic in self.topics]

    @classmethod
    def shared(cls, count: int, size: int = SIZE) -> Audience:
        """So many websockets that follow one topic."""
        return cls((_SHARED,) * count, size)

    @classmethod
    def personal(cls, count: int, size: int = SIZE) -> Audience:
        """So many websockets, each with a topic of its own."""
        uuids = (f"{number:08x}-0000-4000-8000-000000000000" for number in range(count))
        return cls(tuple(f"websocket.user.{uuid}.events" for uuid in uuids), size)

    @classmethod
    def both(cls, count: int) -> Audience:
        """So many websockets, each with a topic of its own and the shared one."""
        return evolve(cls.personal(count), common=_SHARED)


@frozen
class Side:
    """A gateway that runs.

    Attributes:
        who: Name and version of the gateway.
        dialect: Dialect of its clients.
        port: Port of its websockets.
        pids: its processes, whose time and memory are counted.
        paths: Request paths of the websockets, in the order of the audience's topics.
        publisher: starts the program that publishes events on these topics in turn.
    """

    who: str
    dialect: str
    port: int
    pids: tuple[int, ...]
    paths: list[str]
    publisher: Callable[[Sequence[str]], AbstractContextManager[Child]]


class Start(Protocol):
    """Starts a gateway for an audience; raises `NotMeasuredError` when it is missing."""

    def __call__(self, setting: Setting, audience: Audience) -> AbstractContextManager[Side]: ...


@contextmanager
def publishing(
    port: int, events: Sequence[bytes], greetings: Sequence[tuple[bytes, bytes]] = ()
) -> Iterator[Child]:
    """A publisher of prepared bytes that is ready.

    Args:
        port: to connect to.
        events: sent in turn.
        greetings: Bytes to send first, and the expected part of each answer.
    """
    with program("publisher", port=port) as child:
        said = [[send.hex(), expect.hex()] for send, expect in greetings]
        child.ask({"greetings": said, "events": [event.hex() for event in events]})
        yield child


def published_in_redis(topic: str, payload: bytes) -> bytes:
    """The command that publishes it."""
    return array(b"PUBLISH", topic.encode(), payload)
