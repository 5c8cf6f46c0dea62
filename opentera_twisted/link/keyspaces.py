"""Keys that scripts of this package use together, and these scripts on a cluster.

On a cluster, a script may use only keys and topics of one slot. So the keys of a keyspace get the
topic of its reports as their hash tag. A script changes them and publishes the reports in one step,
as on a single server. So each report is published once and in order, even if a program dies.

A script also uses keys that it finds in other keys. While a slot moves key by key, Redis refuses
such a script only if a key that it declares is missing. So each script declares a key that never
exists. Redis then answers TRYAGAIN until the whole slot has moved, and the link retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.link.protocol import Argument

_ON_CLUSTER: Final = {
    # Only existing OpenTera programs need patterns, and they cannot use a cluster.
    "redis.pcall('PUBSUB', 'NUMPAT')": "0",
}
"""Lua of a single server, and its counterpart on a cluster."""

_SHARDED: Final = {"'PUBLISH'": "'SPUBLISH'", "'NUMSUB'": "'SHARDNUMSUB'"}
"""Lua of a single server, and its counterpart with sharded topics."""


@frozen
class Keyspace:
    """Keys with a common prefix, and the topic on which their scripts publish.

    Attributes:
        prefix: prefix of the names on a single server.
        topic: the topic, whose slot the keys share on a cluster.
    """

    prefix: str
    topic: str

    @property
    def prefix_on_cluster(self) -> str:
        """Prefix of the names on a cluster."""
        return f"{self.prefix}{{{self.topic}}}."

    def on_cluster(self, name: str) -> str:
        """Return the name of a key on a cluster."""
        return self.prefix_on_cluster + name.removeprefix(self.prefix)

    def keys_on_cluster(self, keys: Sequence[Argument]) -> list[Argument]:
        """Return the keys that a script declares on a cluster."""
        named: list[Argument] = [self.on_cluster(str(key)) for key in keys]
        return [*named, self.on_cluster(f"{self.prefix}never")]

    def text_on_cluster(self, text: str, *, is_classic: bool = False) -> str:
        """Return the text of a script on a cluster, with sharded or with classic topics."""
        topics_there = {} if is_classic else _SHARDED
        renamed = {self.prefix: self.prefix_on_cluster}
        for single, clustered in {**_ON_CLUSTER, **topics_there, **renamed}.items():
            text = text.replace(single, clustered)
        return text


PRESENCE: Final = Keyspace("opentera.presence.", topics.module_messages(topics.USER_MANAGER_MODULE))
USER_MANAGER: Final = Keyspace(
    "opentera.user_manager.", topics.module_events(topics.USER_MANAGER_MODULE)
)
