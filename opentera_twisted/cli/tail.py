"""``opentera-bus tail``: published messages, decoded, live."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial

import click
from rich.text import Text

from opentera_twisted import topics
from opentera_twisted._internal.printable import printable
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import json_option, types_option
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.output import styled
from opentera_twisted.cli.run import Work, command
from opentera_twisted.cli.stream import Stream, report_gaps
from opentera_twisted.cli.suggestions import suggest_topics
from opentera_twisted.cli.values import is_terminal, short_json
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.holders import PROBE
from opentera_twisted.link import Name
from opentera_twisted.messages.decoding import Decoded, decode
from opentera_twisted.pubsub import Delivery


@cli.command()
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=suggest_topics)
@types_option("Message")
@json_option
@click.option("--raw", is_flag=True, help="Print the topic, and the payload in hexadecimal.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="Number of messages to print.")
@command
def tail(
    patterns: tuple[str, ...], types: tuple[str, ...], as_json: bool, raw: bool, count: int | None
) -> Work:
    """Print published messages, decoded, until Ctrl-C.

    PATTERN is a topic, or a pattern with *, ? or [...]; without any, all topics. Secret topics
    opentera.recovery.* are skipped. A gap in the link to Redis is reported on standard error.

    \b
    opentera-bus tail 'websocket.user.*' --type UserEvent
    opentera-bus tail module.TeraServer.UserManagerModule.messages --json | jq .messages
    opentera-bus tail 'service.*.rpc' --raw -n 1
    """  # noqa: D301 (click takes the character itself)
    if raw and (as_json or types):
        raise InvalidArgument("--raw excludes --json and --type")
    wanted = dict.fromkeys(patterns or ("*",))
    names = [Name(topics.encode(text), is_pattern=topics.is_pattern(text)) for text in wanted]
    filters = [_filter(name) for name in names]

    async def work(bus: Bus) -> None:
        stream = Stream(bus.link.reactor, count)
        report_gaps(bus, "messages in between are missing here")
        render = _raw if raw else _line if as_json or not is_terminal() else _lines

        def received(number: int, delivery: Delivery) -> None:
            if delivery.payload == PROBE or delivery.topic.startswith(topics.RECOVERY):
                return  # a gateway counting listeners, or handing over a client
            topic = delivery.topic.encode(errors="surrogateescape")
            if any(receives(topic) for receives in filters[:number]):
                return  # Redis delivers once per matching subscription: print the first
            decoded = None if raw else _only(types, decode(delivery.topic, delivery.payload))
            if raw or decoded is not None:
                stream.write(render(delivery, decoded or Decoded("bytes")))

        for number, (text, name) in enumerate(zip(wanted, names, strict=True)):
            subscribe = bus.subscribe_pattern if name.is_pattern else bus.subscribe
            await subscribe(text, partial(received, number))
        await stream.ended

    return work


def _filter(name: Name) -> Callable[[bytes], object]:
    """Return a function that is true for the topics a subscription receives."""
    return topics.compile_pattern(name.text).fullmatch if name.is_pattern else name.text.__eq__


def _only(types: tuple[str, ...], decoded: Decoded) -> Decoded | None:
    """Keep only messages of some types; return None if none are left."""
    if not types or decoded.form in types:
        return decoded
    left = tuple(message for message in decoded.messages if message["@type"] in types)
    return Decoded(decoded.form, decoded.head, left) if left else None


def _now() -> datetime:
    return datetime.now().astimezone()


def _raw(delivery: Delivery, _: Decoded) -> str:
    return f"{json.dumps(delivery.topic)[1:-1]} {delivery.payload.hex()}"


def _line(delivery: Delivery, decoded: Decoded) -> str:
    line = {"time": _now().isoformat(), "topic": delivery.topic, **decoded.to_json()}
    return json.dumps(line)


def _lines(delivery: Delivery, decoded: Decoded) -> str:
    """Format for a terminal: time and topic, and below them each message."""
    text = Text.assemble(
        (f"{_now():%H:%M:%S.%f}"[:-3], "dim"), " ", (printable(delivery.topic, ""), "bold"), " "
    )
    if decoded.form in {"TeraEvent", "TeraModuleMessage"}:
        text.append(printable(str(decoded.head.get("source", "")), ""), "dim")
        for message in decoded.messages:
            fields = {name: value for name, value in message.items() if name != "@type"}
            text.append("\n  ")
            text.append(printable(message["@type"], ""), "cyan")
            text.append(f" {short_json(fields)}")
    elif decoded.form == "RPCMessage":
        text.append("\n  ")
        text.append(printable(decoded.head["method"], ""), "cyan")
        text.append(short_json(decoded.value))
    else:
        text.append(decoded.form, "dim")
        text.append(f"\n  {short_json(decoded.value)}")
    return styled(text)
