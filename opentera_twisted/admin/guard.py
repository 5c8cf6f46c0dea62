"""Who may ask the admin endpoint, and from where: names, tokens, sessions and pages.

A page elsewhere on the web can make a browser send requests here. So the ``Host`` must be a name of
ours (a page that has bound its own name to our address shows that name), and what changes anything
needs a token that only our own page can read, and comes from no other origin. Beyond loopback there
is a secret token too; a browser shows it once, and has a cookie from then on.
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
"""Seconds after which a browser has to show the token again."""

MOST_SESSIONS: Final = 100
"""Sessions at a time; of more, the oldest ends."""

FAILURES_PER_MINUTE: Final = 30
"""Wrong tokens of one address; then it is refused unheard."""

PAGE_HEADER: Final = "X-Opentera-Bus-Token"
"""Where our page shows the token that only it can read."""

_HOST: Final = re.compile(
    r"(?:\[([0-9a-f:.]+)(?:%[\w.-]+)?\]|([^\s:,\[\]]+))(?::[0-9]*)?"
    r"|([0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)(?:%[\w.-]+)?",
    re.ASCII,
)


class Refused(PortableError):
    """A request is not answered.

    Args:
        status: of the answer.
        reason: for people to read; it holds nothing that the request has sent.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Guard:
    """Decides on requests.

    Args:
        clock: for sessions and failures.
        token: that a request has to show; None: whoever reaches the endpoint may ask.
        hosts: names by which it may be asked, beside those of loopback and its own address.

    Attributes:
        page_token: what our page has to show when it changes anything.
        needs_token: whether there is a token.
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
        self._sessions: dict[bytes, float] = {}  # digest -> when it ends, the oldest first

    def check_host(self, request: Any) -> None:
        """See that the request was meant for us.

        Raises:
            Refused: it names another host.
        """
        text = _header(request, "Host")
        # Only programs send none; browsers, against which this is, always send one.
        if not text or self._is_ours(host_name(text), request):
            return
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "This endpoint is asked by a name that is not its own. Ask by its address, by "
            "localhost, or by a name that the option --admin-host gives it.",
        )

    def _is_ours(self, name: str, request: Any) -> bool:
        if name == "localhost" or name in self._hosts:
            return True
        return is_loopback(name) or same_host(name, getattr(request.getHost(), "host", ""))

    def may_read(self, request: Any) -> bool:
        """Whether a request shows the token, or the cookie of a session.

        Raises:
            Refused: its address has shown too many wrong tokens.
        """
        if self._digest is None:
            return True
        if self._has_session(request):
            return True
        scheme, _, token = _header(request, "Authorization").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(token.strip(), request)

    def check_reader(self, request: Any) -> None:
        """See that a request may read what is not for everyone.

        Raises:
            Refused: it may not, or a page of another site makes it.
        """
        elsewhere = _header(request, "Sec-Fetch-Site") in {"cross-site", "same-site"}
        if elsewhere and _header(request, "Sec-Fetch-Mode") != "navigate":
            raise _of_another("site")
        if not self.may_read(request):
            request.setHeader("WWW-Authenticate", 'Bearer realm="opentera-bus"')
            raise Refused(
                HTTPStatus.UNAUTHORIZED, "Show the admin token: Authorization: Bearer TOKEN."
            )

    def check_writer(self, request: Any) -> None:
        """See that our own page asks, on behalf of who may read.

        Raises:
            Refused: it does not.
        """
        self.check_reader(request)
        self.check_origin(request)
        if not compare_digest(_digest(_header(request, PAGE_HEADER)), _digest(self.page_token)):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "The page is not of this program, or from before it was started again: reload it.",
            )

    def check_origin(self, request: Any) -> None:
        """See that no page of another origin sends this.

        Raises:
            Refused: one does.
        """
        if _header(request, "Sec-Fetch-Site") not in {"", "same-origin"}:
            raise _of_another("site")
        origin = _header(request, "Origin")
        # The scheme is not compared: a proxy may speak TLS for us.
        if origin and origin.partition("://")[2].lower() != _header(request, "Host").lower():
            raise _of_another("origin")

    def log_in(self, token: str, request: Any) -> bool:
        """Begin a session if that is the token, and set its cookie.

        Raises:
            Refused: its address has shown too many wrong tokens.
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
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tokens: wait a minute.")
        # Digests are of one length, and tell nothing of how much of a token was right.
        if self._digest is not None and compare_digest(_digest(token), self._digest):
            return True
        self._failed.add(address)
        return False


def host_name(text: str) -> str:
    """Read the name or address in a ``Host``, without port, brackets and scope.

    Empty when it is none.
    """
    found = _HOST.fullmatch(text.strip().lower())
    return "" if found is None else found[1] or found[2] or found[3]


def _of_another(what: str) -> Refused:
    return Refused(
        HTTPStatus.FORBIDDEN, f"A page of another {what} asks: open this program's own address."
    )


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogateescape")).digest()


def _header(request: Any, name: str) -> str:
    text: str | None = request.getHeader(name)
    return text or ""


def _cookie_name(request: Any) -> str:
    """Of this endpoint alone: a browser shows the cookies of a host to each of its ports."""
    return f"opentera_bus_{getattr(request.getHost(), 'port', 'unix')}"


def _cookie(request: Any) -> str:
    value: bytes | None = request.getCookie(_cookie_name(request).encode())
    return "" if value is None else value.decode(errors="replace")
