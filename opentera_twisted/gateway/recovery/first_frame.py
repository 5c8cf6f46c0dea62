"""The first text frame of a connection with recovery; it carries the client's token."""

from __future__ import annotations

from typing import Final

from opentera_twisted.gateway.frames import Frame

_OUTCOMES: Final = {None: "null", True: "true", False: "false"}


def first_frame(token: str, window: float, *, recovered: bool | None, missed: int = 0) -> Frame:
    """Make the frame that comes before all event frames.

    Args:
        token: The client's token for its return; it needs no escapes in JSON.
        window: Seconds after a disconnect during which the client can return.
        recovered: None on a new login; True if the missed frames follow, False if some are lost.
        missed: Number of missed event frames that follow; included only when recovered.
    """
    seconds = int(window) if window == int(window) else window
    outcome = _OUTCOMES[recovered] + (f', "missed": {missed}' if recovered else "")
    return Frame(
        f'{{"recovery": {{"token": "{token}", "window": {seconds}, "recovered": {outcome}}}}}'
    )
