"""``opentera-bus health``: the health page of a gateway's admin endpoint."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final

import click

from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.values import is_terminal, print_json
from opentera_twisted.errors import InvalidArgument

DEFAULT: Final = "http://127.0.0.1:40086"
"""Default admin endpoint."""

TIMEOUT: Final = 5.0
"""Seconds to wait for the page."""

LARGEST: Final = 1_048_576
"""Bytes read of a page, at most."""


@cli.command()
@click.argument("url", default=DEFAULT)
@click.option(
    "--admin-token-file",
    metavar="FILE",
    help="File with the admin token, for the whole page.",
)
@click.pass_context
def health(context: click.Context, url: str, admin_token_file: str | None) -> None:
    """Print the health of a gateway.

    URL is the gateway's admin endpoint, by default http://127.0.0.1:40086. Status 1 if the gateway
    is unavailable or does not answer.

    Prints a summary on a terminal, JSON in a pipe.

    \b
    opentera-bus health
    opentera-bus health http://gateway.example.org:40086 --admin-token-file token
    """  # noqa: D301 (click takes the character itself)
    # Loaded only here, since they load Twisted.
    from opentera_twisted.cli.run import fail  # noqa: PLC0415
    from opentera_twisted.program.admin_options import read_token  # noqa: PLC0415

    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"expected a URL such as {DEFAULT}, not {url!r}", context)
    token = ""
    if admin_token_file is not None:
        try:
            token = read_token(admin_token_file).text
        except InvalidArgument as error:
            raise click.BadParameter(str(error), context, param_hint="--admin-token-file") from None
    status, page = 200, b""
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/health")  # noqa: S310
        if token:  # not for another server, to which this one may redirect
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            page = answer.read(LARGEST)
    except urllib.error.HTTPError as error:
        with error:
            status, page = error.code, error.read(LARGEST)
    except (OSError, HTTPException, ValueError) as error:
        fail(f"no answer from {url}: {getattr(error, 'reason', error)}")
    try:
        value: Any = json.loads(page)
        state = str(value["status"])
    except (ValueError, TypeError, KeyError):
        fail(f"{url} is no admin endpoint; it answered {status}")
    if is_terminal():
        click.echo(_summary(value))
    else:
        print_json(value)
    if state != "ready":
        raise SystemExit(1)


def _summary(page: dict[str, Any]) -> str:
    """Return the page's main facts, a line each."""
    lines = [f"status     {page['status']}"]
    if "since" in page:  # without a token, a protected endpoint only tells the status
        redis, clients = page["redis"], page["clients"]
        lines += [
            f"since      {page['since']}",
            f"version    {page['version']}",
            f"redis      {redis['address']}: {redis['client']}, {redis['subscriber']}",
            f"reconnects {sum(redis['reconnects'].values())}, gaps {redis['gaps']}",
            "clients    " + ", ".join(f"{count} {kind}s" for kind, count in clients.items()),
        ]
    return "\n".join(lines)
