"""The URL paths of the admin endpoint."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import wraps
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from importlib.util import find_spec
from inspect import isawaitable
from typing import Any, Final

from twisted.python.failure import Failure
from twisted.web.http import CACHED
from twisted.web.server import Site

from opentera_twisted._internal.extras import explained
from opentera_twisted.admin.console import Console
from opentera_twisted.admin.guard import Guard, Refused
from opentera_twisted.admin.metrics import accepts_exemplars, content_type
from opentera_twisted.admin.overview import Overview
from opentera_twisted.admin.requests import parse_call, parse_disconnection, parse_key
from opentera_twisted.admin.settings import ConsoleMode, Websockets
from opentera_twisted.admin.site import AdminSite
from opentera_twisted.admin.traffic import DEFAULT_PATTERNS
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError, InvalidArgument, PermissionDenied

if find_spec("klein") is None:
    raise explained(ModuleNotFoundError(name="klein"))

JAVASCRIPT_CLIENT: Final = "opentera-bus.js"
"""File and path of the client for browsers."""

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}


def admin_site(
    bus: Bus,
    overview: Overview,
    *,
    token: str | None = None,
    hosts: Iterable[str] = (),
    console: ConsoleMode = "read",
    websockets: Sequence[Websockets] = (),
    audits: bool = False,
) -> Site:
    """Make the site of the admin endpoint: health, metrics, console, client for browsers.

    Args:
        bus: bus for the console's queries and calls.
        overview: state to show, such as `LocalOverview`.
        token: required token; None accepts every client.
        hosts: accepted host names, in addition to loopback and the endpoint's own address.
        console: permissions of the console page.
        websockets: addresses of the gateway, for the page's test websocket.
        audits: True writes the console's calls and issued keys to the audit log.
    """
    guard = Guard(bus.link.clock, token, hosts)
    routes = _Routes(guard)
    _add_health(routes, overview)

    @routes.read("/metrics")
    def metrics(request: Any) -> bytes | Awaitable[bytes]:
        has_exemplars = accepts_exemplars(request.getHeader("Accept") or "")
        request.setHeader("Content-Type", content_type(has_exemplars=has_exemplars))
        return overview.metrics(has_exemplars=has_exemplars)

    _add_client(routes)
    page = Console(bus, overview, guard=guard, mode=console, websockets=websockets, audits=audits)
    if console != "off":
        _add_page(routes)
        _add_figures(routes, page)
        _add_console(routes, page)
        _add_clients(routes, page)

    def stop() -> None:
        overview.stop()
        page.traffic.stop()

    return AdminSite(
        routes.app.resource(),
        opens_websockets=page.may_write,
        on_start=overview.start,
        on_stop=stop,
    )


class _Routes:
    """Routes with access checks."""

    def __init__(self, guard: Guard) -> None:
        from klein import Klein  # noqa: PLC0415 (importing it makes the reactor)

        self.app = Klein()
        self.guard = guard
        self.app.handle_errors(Refused, BusError)(_refuse)

    def all(self, path: str, *methods: str) -> Callable[[Any], Any]:
        """Add a path without checks."""
        return self._route(path, methods, lambda _: None)

    def named(self, path: str, *methods: str) -> Callable[[Any], Any]:
        """Add a path that only checks the host name."""
        return self._route(path, methods, self.guard.check_host)

    def read(self, path: str) -> Callable[[Any], Any]:
        """Add a path for readers."""
        return self._route(path, (), self.guard.check_host, self.guard.check_reader)

    def write(self, path: str) -> Callable[[Any], Any]:
        """Add a path for changes by the console page."""
        return self._route(path, ("POST",), self.guard.check_host, self.guard.check_writer)

    def _route(
        self, path: str, methods: Sequence[str], *checks: Callable[[Any], None]
    ) -> Callable[[Any], Any]:
        def decorate(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
            @self.app.route(path, methods=list(methods or ("GET",)), endpoint=path)
            @wraps(answer)
            async def guarded(request: Any) -> Any:
                for check in checks:
                    check(request)
                if request.is_too_long:
                    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too long.")
                value = answer(request)
                if isawaitable(value):
                    value = await value
                return value if isinstance(value, bytes) else _json(request, value)

            return answer

        return decorate


def _add_health(routes: _Routes, overview: Overview) -> None:
    guard = routes.guard

    @routes.all("/health/live")
    def live(_: Any) -> Any:
        return {"status": "live"}

    @routes.named("/health")
    def page(request: Any) -> Any:
        health = overview.health()
        if health["status"] != "ready":
            request.setResponseCode(HTTPStatus.SERVICE_UNAVAILABLE)
        return health if guard.may_read(request) else {"status": health["status"]}


def _add_client(routes: _Routes) -> None:
    client = files(__package__).joinpath(JAVASCRIPT_CLIENT).read_bytes()

    @routes.all(f"/{JAVASCRIPT_CLIENT}")
    def javascript_client(request: Any) -> bytes:
        # Pages of any origin may load it.
        request.setHeader("Access-Control-Allow-Origin", "*")
        request.setHeader("Cross-Origin-Resource-Policy", "cross-origin")
        return _kept(request, client, "js")


def _add_page(routes: _Routes) -> None:
    """Add the page, its files, and the login form."""
    guard = routes.guard
    contents = {
        file.name: file.read_bytes()
        for file in files(__package__).joinpath("page").iterdir()
        if file.name.rpartition(".")[2] in TYPES
    }

    @routes.named("/")
    def page(request: Any) -> bytes:
        name = "console.html" if guard.may_read(request) else "login.html"
        request.setHeader("Content-Type", TYPES["html"])
        return contents[name]

    for name in contents.keys() - {"console.html", "login.html"}:
        # Public: these files are in the package.
        routes.named(f"/{name}")(_file(contents[name], name.rpartition(".")[2]))

    @routes.named("/login", "POST")
    def log_in(request: Any) -> bytes:
        guard.check_origin(request)
        token = request.args.get(b"token", [b""])[0].decode(errors="replace")
        if guard.log_in(token.strip(), request):
            request.setResponseCode(HTTPStatus.SEE_OTHER)
            request.setHeader("Location", "/")
            return b""
        request.setResponseCode(HTTPStatus.UNAUTHORIZED)
        request.setHeader("Content-Type", TYPES["html"])
        return contents["login.html"].replace(b'id="wrong" hidden', b'id="wrong"')

    @routes.write("/logout")
    def log_out(request: Any) -> Any:
        guard.log_out(request)
        return {}


def _add_figures(routes: _Routes, console: Console) -> None:
    """Add the paths of the program's figures."""

    @routes.read("/api/state")
    def state(request: Any) -> Any:
        return console.state(_number(request, b"after"))

    @routes.read("/api/hour")
    def hour(_: Any) -> Any:
        return console.hour()

    @routes.read("/api/procedures")
    def procedures(_: Any) -> Any:
        return console.figures.page()


def _add_console(routes: _Routes, console: Console) -> None:
    """Add the paths of the page's requests."""

    @routes.read("/api/console")
    def beginning(_: Any) -> Any:
        return console.beginning()

    @routes.read("/api/traffic")
    def traffic(request: Any) -> Any:
        default = [DEFAULT_PATTERNS.encode()]
        patterns = request.args.get(b"patterns", default)[0].decode(errors="replace")
        serial, after = _number(request, b"serial"), _number(request, b"after")
        text = request.args.get(b"filter", [b""])[0].decode(errors="replace")
        return console.traffic.page(patterns, serial, after, text)

    @routes.read("/api/presence")
    def presence(_: Any) -> Any:
        return console.presence()

    @routes.read("/api/services")
    def services(_: Any) -> Any:
        return console.services()

    if not console.may_write:
        return

    @routes.write("/api/call")
    def call(request: Any) -> Any:
        return console.call(parse_call(request.content.read()), _address(request))

    @routes.write("/api/keys")
    def issue(request: Any) -> Any:
        return console.issue(parse_key(request.content.read()), _address(request))


def _add_clients(routes: _Routes, console: Console) -> None:
    """Add the paths about gateways and their clients."""

    @routes.read("/api/gateways")
    def gateways(_: Any) -> Any:
        return console.gateways()

    @routes.read("/api/clients")
    def clients(request: Any) -> Any:
        search = request.args.get(b"search", [b""])[0].decode(errors="replace")
        return console.clients(search)

    if not console.may_write:
        return

    @routes.write("/api/disconnect")
    def disconnect(request: Any) -> Any:
        return console.disconnect(parse_disconnection(request.content.read()), _address(request))


def _file(content: bytes, suffix: str) -> Callable[[Any], bytes]:
    return lambda request: _kept(request, content, suffix)


def _kept(request: Any, content: bytes, suffix: str) -> bytes:
    """Return a file that browsers cache and revalidate with its ETag."""
    request.setHeader("Content-Type", TYPES[suffix])
    request.setHeader("Cache-Control", "public, no-cache")
    tag = b'"%b"' % sha256(content).hexdigest()[:32].encode()
    return b"" if request.setETag(tag) is CACHED else content


def _json(request: Any, value: Any) -> bytes:
    request.setHeader("Content-Type", TYPES["json"])
    return json.dumps(value, indent=2).encode() + b"\n"


def _address(request: Any) -> str:
    return getattr(request.getClientAddress(), "host", None) or "unix"


def _number(request: Any, name: bytes) -> int:
    text = request.args.get(name, [b"0"])[0]
    return int(text) if text.isdigit() and len(text) < 16 else 0


def _refuse(request: Any, failure: Failure) -> bytes:
    error: Any = failure.value
    if isinstance(error, Refused):
        status = error.status
    elif isinstance(error, InvalidArgument):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(error, PermissionDenied):
        status = HTTPStatus.FORBIDDEN
    else:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    request.setResponseCode(status)
    if request.path.startswith(b"/api/"):
        return _json(request, {"error": type(error).__name__, "message": str(error)})
    request.setHeader("Content-Type", TYPES["txt"])
    return f"{error}\n".encode()
