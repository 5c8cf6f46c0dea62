"""What the request of a handshake asks for, and the ways in which it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from attrs import frozen

from opentera_twisted.topics import KINDS, Kind

_PATHS: Final[Mapping[str, Kind]] = {f"/wss/{kind}": kind for kind in KINDS}


class Refusal(Exception):
    """A handshake is refused.

    Attributes:
        status: what the client is told, and nothing else.
        cause: what the log is told; it holds nothing that the client sent.
    """

    def __init__(self, status: HTTPStatus, cause: str) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause


@frozen
class Login:
    """A request to log in.

    Attributes:
        kind: of the websocket.
        key: as the client gave it: any text.
    """

    kind: Kind
    key: str


def parse_login(path: str, query: Mapping[str, Sequence[str]]) -> Login:
    """Read path and query of a handshake.

    Args:
        path: such as ``/wss/user``.
        query: each parameter's values.

    Raises:
        Refusal: the path is none of ours, or there is not exactly one ``id``.
    """
    kind = _PATHS.get(path)
    if kind is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "no such path")
    keys = query.get("id", ())
    if len(keys) != 1:
        raise Refusal(HTTPStatus.FORBIDDEN, f"{len(keys)} session keys in the query")
    return Login(kind, keys[0])
