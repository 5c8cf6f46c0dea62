"""Names of topics: built names parse back; others are rejected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted import InvalidTopic, topics
from opentera_twisted.topics import Topic, parse
from tests.helpers.strategies import any_text
from tests.helpers.support import UUID

parts = st.text("abcXYZ019_-é ", min_size=1).filter(lambda part: part != "events")
names = st.lists(parts, min_size=1, max_size=4).map(".".join)
subtopics = st.lists(st.text("abcXYZ019_-é", min_size=1), min_size=1, max_size=3).map(".".join)


@given(names)
def test_topics_of_modules_and_services_are_parsed_back(name: str) -> None:
    assert parse(topics.module_messages(name)) == Topic("module", name, "messages")
    assert parse(topics.module_rpc(name)) == Topic("module", name, "rpc")
    assert parse(topics.module_events(name)) == Topic("module", name, "events")
    assert parse(topics.service_messages(name)) == Topic("service", name, "messages")
    assert parse(topics.service_rpc(name)) == Topic("service", name, "rpc")
    assert parse(topics.service_events(name)) == Topic("service", name, "events")


@given(names, subtopics)
def test_subtopics_are_parsed_back_whatever_words_they_hold(name: str, subtopic: str) -> None:
    assert parse(topics.module_events(name, subtopic)) == Topic("module", name, "events", subtopic)


@pytest.mark.parametrize("subtopic", ["rpc", "events", "a.events.b", "messages"])
def test_a_subtopic_may_contain_words_of_the_convention(subtopic: str) -> None:
    topic = topics.module_events("A.B", subtopic)
    assert parse(topic) == Topic("module", "A.B", "events", subtopic)
    assert str(parse(topic)) == topic


@pytest.mark.parametrize("kind", topics.KINDS)
def test_topics_of_websockets_are_parsed_back(kind: topics.Kind) -> None:
    topic = topics.websocket_events(kind, UUID)
    assert topic == f"websocket.{kind}.{UUID}.events"
    assert parse(topic) == Topic("websocket", f"{kind}.{UUID}", "events")


@given(any_text())
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        topic = parse(text)
    except InvalidTopic:
        return
    assert str(topic) == text


@pytest.mark.parametrize(
    "text",
    ["", "module", "module.rpc", "module..rpc", "module.A.events.", "websocket.user.events",
     "websocket.admin.x.events", "websocket.user.x.events.y", "service.x", "other.x.rpc",
     "module.A.events\n", "module.A\tb.rpc", "module.A\u2028b.rpc"],
)  # fmt: skip
def test_an_invalid_topic_is_refused(text: str) -> None:
    with pytest.raises(InvalidTopic):
        parse(text)


@pytest.mark.parametrize(
    "name",
    ["", "a..b", ".a", "a.", "a\tb", "a\xa0b", "a*", "events", "a.events.b", "a\n", "\ud800"],
)
def test_names_that_change_the_topic_are_refused(name: str) -> None:
    with pytest.raises(InvalidTopic):
        topics.module_rpc(name)


BUILDERS = [
    ("module", topics.module_messages),
    ("module", topics.module_events),
    ("module", topics.module_rpc),
    ("service", topics.service_messages),
    ("service", topics.service_events),
    ("service", topics.service_rpc),
]


@pytest.mark.parametrize(("owner", "build"), BUILDERS)
@pytest.mark.parametrize("ending", ["", ".rpc"])
def test_a_name_with_its_prefix_is_refused(
    owner: str, build: Callable[[str], str], ending: str
) -> None:
    with pytest.raises(InvalidTopic, match="expected the name alone, 'Sum'"):
        build(f"{owner}.Sum{ending}")


@pytest.mark.parametrize(("owner", "build"), BUILDERS)
def test_a_name_with_the_other_prefix_is_refused(owner: str, build: Callable[[str], str]) -> None:
    other = "module" if owner == "service" else "service"
    expected = f"'{other}.Sum' is a {other}; expected the name of a {owner}"
    with pytest.raises(InvalidTopic, match=expected):
        build(f"{other}.Sum")


def test_the_disconnect_command_has_the_existing_topic() -> None:
    assert topics.disconnect_command(UUID) == f"module.TeraServer.TwistedModule.events.{UUID}"
    assert topics.disconnect_commands(UUID) == (topics.disconnect_command(UUID),)
