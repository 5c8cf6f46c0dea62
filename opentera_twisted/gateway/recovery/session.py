"""What stands between the fan-out and a websocket that may break and come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.gateway.recovery.first_frame import first_frame
from opentera_twisted.gateway.recovery.window import Window
from opentera_twisted.sessions import Identity


class Websocket(Client, Protocol):
    """A websocket that speaks the subprotocol of recovery.

    Attributes:
        session: its session, once admitted.
    """

    session: Session | None

    def resumed_elsewhere(self) -> None:
        """Close: the client has come back on another websocket."""

    def missed_events(self) -> None:
        """Close: events may have been missed, which the client is told when it returns."""


@frozen
class Beginning:
    """How a websocket of a session begins.

    Attributes:
        token: with which the client can return.
        recovered: None on a new login; whether the client has missed nothing.
        missed: the frames that it has missed; None: those of the window.
    """

    token: str = field(repr=False)
    recovered: bool | None = None
    missed: Sequence[Frame] | None = None


class Session:
    """One client's place in the fan-out; it outlives the client's websockets.

    Args:
        identity: whose it is.
        window: keeps the frames that may be needed again.
        clock: for their age.
        on_closed: called when a command or the gateway ends it.

    Attributes:
        identity: as given.
        window: as given.
        window_bits: of the compression agreed on with the websocket; 0: none.
        websocket: the open one, if any.
        digest: of the token with which the client can return; empty: it cannot.
        epoch: the gateway's count of gaps at which its frames began.
        beginning: how the next websocket begins.
        closing: code and reason with which it ends as soon as it begins.
    """

    __slots__ = (
        "_clock",
        "_live",
        "_on_closed",
        "beginning",
        "closing",
        "digest",
        "epoch",
        "identity",
        "websocket",
        "window",
        "window_bits",
    )

    def __init__(
        self,
        identity: Identity,
        window: Window,
        clock: IReactorTime,
        on_closed: Callable[[Session], None],
    ) -> None:
        self.identity = identity
        self.window = window
        self.window_bits = 0
        self.websocket: Websocket | None = None
        self._live: Websocket | None = None
        self.digest = ""
        self.epoch = 0
        self.beginning: Beginning | None = None
        self.closing: tuple[int, str] | None = None
        self._clock = clock
        self._on_closed = on_closed

    def write(self, data: bytes, frames: Sequence[Frame]) -> bool:
        """Keep frames, and send them if the client is there."""
        websocket = self._live
        if websocket is None:
            self.window.add(frames, None)
            return False
        self.window.add(frames, self._clock.seconds())
        return websocket.write(data, frames)

    def attach(self, websocket: Websocket, seconds: float) -> int:
        """Send an open websocket its first frame, and what was missed; live frames follow.

        Args:
            websocket: that is open.
            seconds: for which the client can return, which it is told.

        Returns:
            Number of event frames that were sent.
        """
        beginning, self.beginning = self.beginning, None
        assert beginning is not None  # noqa: S101 (whoever admits a client sets it)
        frames = self.window.frames if beginning.missed is None else beginning.missed
        self.window.restart(frames)
        self.window.add((), self._clock.seconds())
        self.websocket = self._live = websocket
        self.window_bits = bits = websocket.window_bits
        first = first_frame(
            beginning.token, seconds, recovered=beginning.recovered, missed=len(frames)
        )
        websocket.write(b"".join([one.deflated(bits) for one in (first, *frames)]), frames)
        return len(frames)

    def detach(self) -> None:
        """Go on without a websocket."""
        self.websocket = self._live = None
        self.window_bits = 0

    def mute(self) -> None:
        """Send the websocket nothing more: what would come next is not what it expects."""
        self._live = None

    def close(self, code: int, reason: str) -> None:
        """End the session, and close its websocket: the client may not return."""
        if not self.digest:  # its client is being admitted
            self.closing = (code, reason)
            return
        websocket = self.websocket
        self._on_closed(self)
        if websocket is not None:
            websocket.close(code, reason)
