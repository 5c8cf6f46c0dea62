"""A recoverable session, between the fan-out and a client's successive websockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from attrs import field, frozen

from opentera_twisted.gateway.frames import Frame, Frames
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.gateway.recovery.first_frame import first_frame
from opentera_twisted.gateway.recovery.window import Window
from opentera_twisted.sessions import Identity

HAS_TOKEN: Final = b"token"
"""Payload of the pong by which a client shows that it has its next token."""

_PING: Final = bytes([0x89, len(HAS_TOKEN)]) + HAS_TOKEN


class Websocket(Client, Protocol):
    """A websocket that speaks the subprotocol of recovery."""

    def resumed_elsewhere(self) -> None:
        """Close the websocket because its client has returned on another one."""

    def missed_events(self) -> None:
        """Close the websocket because events may have been missed; the client can return."""


@frozen
class Beginning:
    """The first frames for a session's next websocket.

    Attributes:
        token: The client's token for its next return.
        recovered: None on a new login; True if no frame is lost, else False.
        missed: The missed frames; None sends the frames of the window.
    """

    token: str = field(repr=False)
    recovered: bool | None = None
    missed: Sequence[Frame] | None = None


@frozen
class Prior:
    """A session's previous token, until its client has the present one.

    Attributes:
        digest: Digest of the token.
        received: The client's count on that token's connection; None if frames were lost.
    """

    digest: str = field(repr=False)
    received: int | None


class Session:
    """One client in the fan-out; a session outlives the client's websockets.

    Args:
        identity: The client's identity.
        window: Buffer of the frames that the client may need again.
        on_closed: Called when a command or the gateway ends the session.

    Attributes:
        identity: The client's identity.
        window: Buffer of the frames that the client may need again.
        window_bits: Compression window agreed with the websocket, as a logarithm; 0 for none.
        websocket: The open websocket, if any.
        digest: Digest of the client's token; empty while the client cannot return.
        prior: The client's previous token, if the client may lack the present one.
        has_gap: True if the session may have lost events.
        beginning: First frames for the next websocket.
        closing: Close code and reason for a session that must close right after opening.
    """

    __slots__ = (
        "_live",
        "_on_closed",
        "beginning",
        "closing",
        "digest",
        "has_gap",
        "identity",
        "prior",
        "websocket",
        "window",
        "window_bits",
    )

    def __init__(
        self,
        identity: Identity,
        window: Window,
        on_closed: Callable[[Session], None],
    ) -> None:
        self.identity = identity
        self.window = window
        self.window_bits = 0
        self.websocket: Websocket | None = None
        self._live: Websocket | None = None
        self.digest = ""
        self.prior: Prior | None = None
        self.has_gap = False
        self.beginning: Beginning | None = None
        self.closing: tuple[int, str] | None = None
        self._on_closed = on_closed

    def write(self, data: bytes, frames: Frame | Frames | None = None) -> bool:
        """Keep frames, and send them if the client is connected."""
        if frames is not None:
            self.window.add(frames)
        websocket = self._live
        return websocket is not None and websocket.write(data)

    def attach(self, websocket: Websocket, seconds: float) -> int:
        """Send an open websocket its first frame and the missed frames; live frames follow.

        Args:
            websocket: The open websocket.
            seconds: Seconds after a disconnect during which the client can return.

        Returns:
            Number of event frames sent.
        """
        beginning, self.beginning = self.beginning, None
        assert beginning is not None  # noqa: S101 (set on admission)
        frames = self.window.frames if beginning.missed is None else beginning.missed
        self.window.restart(frames)
        self.websocket = self._live = websocket
        self.window_bits = bits = websocket.window_bits
        first = first_frame(
            beginning.token, seconds, recovered=beginning.recovered, missed=len(frames)
        )
        pieces = [frame.deflated(bits) for frame in (first, *frames)]
        if self.prior is not None:
            pieces.insert(1, _PING)
        websocket.write(b"".join(pieces))
        return len(frames)

    def detach(self) -> None:
        """Detach the websocket; the session keeps collecting frames."""
        self.websocket = self._live = None
        self.window_bits = 0

    def mute(self) -> None:
        """Send no more frames to the websocket, because its next frame would leave a gap."""
        self._live = None

    def close(self, code: int, reason: str) -> bool:
        """End the session for good and close its websocket; return False if it ends already."""
        if not self.digest:  # admission is under way
            is_first = self.closing is None
            self.closing = (code, reason)
            return is_first
        websocket = self.websocket
        self._on_closed(self)
        if websocket is not None:
            websocket.close(code, reason)
        return True
