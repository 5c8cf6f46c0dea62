"""Credentials of the next handshake: a session key or a recovery token.

A pure record, without a socket. It decides whether the program must supply a new key, and whether
events may have been missed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from opentera_twisted._internal.timeouts import LONGEST
from opentera_twisted.client.events import BadFrame

SUBPROTOCOL: Final = "opentera-bus.recovery.v1"
"""Subprotocol by which a client requests recovery, and a gateway agrees."""

PLAIN_SUBPROTOCOL: Final = "opentera-events"
"""Subprotocol that a gateway without recovery may select; its frames are the same."""

LONGEST_KEY: Final = 4096
"""Maximum length of a session key or token, in characters."""

DEFAULT_WINDOW: Final = 60.0
"""Seconds for which a token is valid if the gateway does not say."""

_KEY: Final = re.compile(r"[!-~]+")
_FORBIDDEN: Final = frozenset({401, 403})


class Login:
    """Credentials of one client, from one handshake to the next.

    Attributes:
        received: number of event frames since the first frame of the connection.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset to the state of a client that has never connected."""
        self.received = 0
        self._key: str | None = None
        self._token: str | None = None
        self._window = 0.0
        self._good_until: float | None = None
        self._is_first_use = False
        self._was_ready = False

    @property
    def needs_key(self) -> bool:
        """True when there are no credentials for the next handshake."""
        return self._key is None and self._token is None

    def supply(self, key: object) -> None:
        """Accept a session key.

        Raises:
            ValueError: it has an invalid form; the message does not repeat it.
        """
        if not isinstance(key, str):
            what = type(key).__name__
            raise ValueError(f"expected a session key as a string, not {what}")  # noqa: TRY004
        if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
            raise ValueError(
                f"{len(key)} characters are not a session key: expected visible ASCII characters, "
                f"{LONGEST_KEY} at most"
            )
        self._key = key
        self._is_first_use = True

    def query(self) -> str:
        """Write the credentials as the query of the next handshake."""
        if self._token is not None:
            return f"recover={quote(self._token, safe='')}&received={self.received}"
        return f"id={quote(self._key or '', safe='')}"

    def refused(self, status: int) -> bool:
        """Record a handshake that the gateway answered with an error.

        A gateway that answers 503 or 429, or a proxy in front of it, has not checked the
        credentials.

        Returns:
            True if old credentials were rejected: the next attempt uses new ones, without a delay.
        """
        if self._token is not None:
            if status in {429, 500, 502, 503, 504}:
                return False
            self._token = None
            return True
        was_first_use, self._is_first_use = self._is_first_use, False
        if status not in _FORBIDDEN:
            return False
        self._key = None
        return not was_first_use

    def unreachable(self) -> None:
        """Record an attempt without a connection: the credentials may still be valid."""
        self._is_first_use = False

    def broke(self, now: float) -> None:
        """Record the end of a connection, or of an attempt to reconnect.

        Args:
            now: seconds of a steady clock.
        """
        if self._good_until is None:
            self._good_until = now + self._window

    def expire(self, now: float) -> None:
        """Forget the token when the gateway's recovery window has ended."""
        if self._good_until is not None and now >= self._good_until:
            self._token = None

    def key_used(self) -> None:
        """Record an open websocket, or a handshake without an answer.

        The key is used up, or may be; a token is valid until the next one.
        """
        self._key = None

    def begin(self, frame: Mapping[str, Any] | None) -> bool:
        """Record the beginning of a connection.

        Args:
            frame: its first frame when the gateway offers recovery; else None.

        Returns:
            True when events may have been missed since the previous connection.

        Raises:
            BadFrame: the frame is not a valid first frame.
        """
        recovered = False
        self._token = None
        if frame is not None:
            recovery = frame.get("recovery")
            fields = recovery if isinstance(recovery, dict) else {}
            token = fields.get("token")
            if not isinstance(token, str) or len(token) > LONGEST_KEY or not _KEY.fullmatch(token):
                raise BadFrame("a first frame without a recovery token")
            window = fields.get("window")
            self._token = token
            if not isinstance(window, (int, float)) or not 0 <= window < LONGEST:
                window = DEFAULT_WINDOW
            self._window = window
            self._good_until = None
            recovered = fields.get("recovered") is True
        self.received = 0
        was_ready, self._was_ready = self._was_ready, True
        return was_ready and not recovered

    def forget_token(self) -> None:
        """Log in with a key next time: recovery would repeat the unreadable frame."""
        self._token = None
