"""The first text frame of a connection with recovery, which the client reads its token from."""

from __future__ import annotations

import json

from opentera_twisted.gateway.frames import Frame


def first_frame(token: str, window: float, *, recovered: bool | None, missed: int = 0) -> Frame:
    """Make the frame that comes before all event frames.

    Args:
        token: with which the client can return.
        window: seconds for which it can, after a disconnect.
        recovered: None on a new login; True: the missed frames follow; False: some are lost.
        missed: event frames that follow at once; told only when recovered.
    """
    seconds = int(window) if window == int(window) else window
    told: dict[str, object] = {"token": token, "window": seconds, "recovered": recovered}
    if recovered:
        told["missed"] = missed
    return Frame(json.dumps({"recovery": told}))
