"""Access checks of the admin endpoint: host names, tokens, sessions and origins.

Any page on the web can make a browser send requests here. Therefore:

* ``Host`` must be a known name. A page that binds its own name to this address (DNS rebinding)
  sends that name.
* A request that changes anything must come from the endpoint's own origin, with a token that only
  the console page can read.
* Beyond loopback, a secret token is required. A browser sends it once and gets a session cookie.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from opentera_twisted._internal.failed_logins import FailedLogins
from opentera_twisted._internal.ip_addresses import is_loopback, same_host
from opentera_twisted.errors import PortableError

SESSION_LIFETIME: Final = 12 * 3600.0
"""Seconds until a browser must log in again."""

MOST_SESSIONS: Final = 100
"""Concurrent sessions; a further one ends the oldest."""

FAILURES_PER_MINUTE: Final = 30
"""Wrong tokens per minute from one address; further attempts get 429."""

PAGE_HEADER: Final = "X-Opentera-Bus-Token"
"""Header with the page token, which only the console page can read."""

_HOST: Final = re.compile(
    r"(?:\[([0-9a-f:.]+)(?:%[\w.-]+)?\]|([^\s:,\[\]]+))(?::[0-9]*)?"
    r"|([0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)(?:%[\w.-]+)?",
    re.ASCII,
)


class Refused(PortableError):
    """A request was refused.

    Args:
        status: HTTP status of the response.
        reason: text for people, without anything from the request.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Guard:
    """Access checks of requests.

    Args:
        clock: clock for sessions and failed logins.
        token: required token; None accepts every client.
        hosts: accepted host names, in addition to loopback and the endpoint's own address.

    Attributes:
        page_token: token that the console page must send with every change.
        needs_token: True if a token is required.
    """

    def __init__(
        self, clock: IReactorTime, token: str | None = None, hosts: Iterable[str] = ()
    ) -> None:
        self.page_token = secrets.token_urlsafe(32)
        self.needs_token = token is not None
        self._digest = None if token is None else _digest(token)
        self._hosts = {host.lower() for host in hosts}
        self._clock = clock
        self._failed = FailedLogins(FAILURES_PER_MINUTE, clock.seconds)
        self._sessions: dict[bytes, float] = {}  # digest -> time of expiry, the oldest first

    def check_host(self, request: Any) -> None:
        """Check the ``Host`` header.

        Raises:
            Refused: the host is unknown.
        """
        text = _header(request, "Host")
        # The check protects browsers, which always send the header.
        if not text or self._is_ours(host_name(text), request):
            return
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "Unknown Host header. Use this machine's address, localhost, or a name given with "
            "--admin-host.",
        )

    def _is_ours(self, name: str, request: Any) -> bool:
        if name == "localhost" or name in self._hosts:
            return True
        return is_loopback(name) or same_host(name, getattr(request.getHost(), "host", ""))

    def may_read(self, request: Any) -> bool:
        """Return True for a request with the token or a session cookie.

        Raises:
            Refused: the address has sent too many wrong tokens.
        """
        if self._digest is None:
            return True
        if self._has_session(request):
            return True
        scheme, _, token = _header(request, "Authorization").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(token.strip(), request)

    def check_reader(self, request: Any) -> None:
        """Check that a request may read protected content.

        Raises:
            Refused: the token is missing or wrong, or a page of another site sent the request.
        """
        elsewhere = _header(request, "Sec-Fetch-Site") in {"cross-site", "same-site"}
        if elsewhere and _header(request, "Sec-Fetch-Mode") != "navigate":
            raise _of_another("site")
        if not self.may_read(request):
            request.setHeader("WWW-Authenticate", 'Bearer realm="opentera-bus"')
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "The admin token is missing or wrong. Send Authorization: Bearer TOKEN.",
            )

    def check_writer(self, request: Any) -> None:
        """Check that the console page sent a request, from a client that may read.

        Raises:
            Refused: another page or program sent it.
        """
        self.check_reader(request)
        self.check_origin(request)
        if not compare_digest(_digest(_header(request, PAGE_HEADER)), _digest(self.page_token)):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "The program has restarted since this page was loaded. Reload the page.",
            )

    def check_origin(self, request: Any) -> None:
        """Check that no page of another origin sent a request.

        Raises:
            Refused: one did.
        """
        if _header(request, "Sec-Fetch-Site") not in {"", "same-origin"}:
            raise _of_another("site")
        origin = _header(request, "Origin")
        # Ignore the scheme: a proxy may terminate TLS.
        if origin and origin.partition("://")[2].lower() != _header(request, "Host").lower():
            raise _of_another("origin")

    def log_in(self, token: str, request: Any) -> bool:
        """Start a session and set its cookie if the token is right; return False otherwise.

        Raises:
            Refused: the address has sent too many wrong tokens.
        """
        if not self._is_token(token, request):
            return False
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = self._clock.seconds() + SESSION_LIFETIME
        if len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._set_cookie(request, session, int(SESSION_LIFETIME))
        return True

    def log_out(self, request: Any) -> None:
        """End the session of a request."""
        self._sessions.pop(_digest(_cookie(request)), None)
        self._set_cookie(request, "", 0)

    def _set_cookie(self, request: Any, session: str, age: int) -> None:
        request.addCookie(
            _cookie_name(request),
            session,
            path="/",
            max_age=str(age),
            httpOnly=True,
            secure=request.isSecure(),
            sameSite="strict",
        )

    def _has_session(self, request: Any) -> bool:
        ends = self._sessions.get(_digest(_cookie(request)))
        return ends is not None and ends > self._clock.seconds()

    def _is_token(self, token: str, request: Any) -> bool:
        address = getattr(request.getClientAddress(), "host", "unix")
        if self._failed.are_too_many(address):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tokens. Wait a minute.")
        # Comparing digests leaks neither the token's length nor a common prefix.
        if self._digest is not None and compare_digest(_digest(token), self._digest):
            return True
        self._failed.add(address)
        return False


def host_name(text: str) -> str:
    """Return the name or address in a ``Host``, without port, brackets and scope; "" if invalid."""
    found = _HOST.fullmatch(text.strip().lower())
    return "" if found is None else found[1] or found[2] or found[3]


def _of_another(what: str) -> Refused:
    return Refused(
        HTTPStatus.FORBIDDEN,
        f"A page of another {what} sent this request. Open this endpoint's own address.",
    )


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogateescape")).digest()


def _header(request: Any, name: str) -> str:
    text: str | None = request.getHeader(name)
    return text or ""


def _cookie_name(request: Any) -> str:
    """Name the cookie by port: a browser sends the cookies of a host to all its ports."""
    return f"opentera_bus_{getattr(request.getHost(), 'port', 'unix')}"


def _cookie(request: Any) -> str:
    value: bytes | None = request.getCookie(_cookie_name(request).encode())
    return "" if value is None else value.decode(errors="replace")
