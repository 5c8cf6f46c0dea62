"""``opentera-bus publish``: publish messages."""

from __future__ import annotations

from collections.abc import Sequence

import click
from google.protobuf.message import Message

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import is_envelope, parse_bytes, parse_messages
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.run import BUS_NAME, Work, command
from opentera_twisted.cli.suggestions import suggest_topics
from opentera_twisted.cli.values import print_json
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.messages.envelopes import module_message as module_message_of
from opentera_twisted.messages.envelopes import tera_event


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("topic", shell_complete=suggest_topics)
@click.argument("message")
@click.option("--raw", is_flag=True, help="Publish MESSAGE as it is: text, or hex:DEADBEEF.")
@click.option(
    "--module-message",
    is_flag=True,
    help="Wrap in a TeraModuleMessage, as on topics that end in .messages.",
)
@click.option(
    "--source",
    metavar="NAME",
    help=f"Source of the TeraModuleMessage; by default {BUS_NAME}.",
)
@command
def publish(topic: str, message: str, raw: bool, module_message: bool, source: str | None) -> Work:
    """Publish on TOPIC and print the number of receivers.

    MESSAGE is JSON with its type, {"@type": "UserEvent", "userUuid": "…"}, or a list of these.
    The messages are wrapped in one TeraEvent; a TeraEvent or TeraModuleMessage stays as it is.

    \b
    opentera-bus publish service.Games.events '{"@type": "LogEvent", "message": "hello"}'
    opentera-bus publish --module-message module.TeraServer.UserManagerModule.messages \\
        '{"@type": "UserEvent", "type": "USER_CONNECTED", "userUuid": "…"}'
    opentera-bus publish --raw my.topic hex:00ff
    """  # noqa: D301 (click takes the character itself)
    topics.encode(topic)
    if raw and module_message:
        raise InvalidArgument("--raw and --module-message exclude each other")
    if source is not None and not module_message:
        raise InvalidArgument("--source needs --module-message")
    payload = (
        parse_bytes(message)
        if raw
        else _envelope(topic, parse_messages(message), module_message, source or BUS_NAME)
    )

    async def work(bus: Bus) -> None:
        print_json(await bus.publish(topic, payload))

    return work


def _envelope(
    topic: str, messages: Sequence[Message], is_module_message: bool, source: str
) -> Message:
    """Wrap messages in an envelope, unless the only one is an envelope already."""
    if len(messages) == 1 and is_envelope(messages[0]):
        if is_module_message:
            name = messages[0].DESCRIPTOR.name
            raise InvalidArgument(f"a {name} is published as it is; omit --module-message")
        return messages[0]
    if is_module_message:
        return module_message_of(source, topic, messages)
    return tera_event(topic, messages)
