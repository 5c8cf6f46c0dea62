"""Request and reply over NATS, with nats.py: the rival of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from attrs import frozen

from benchmarks.children import measured, program
from benchmarks.rivals.environments import python
from benchmarks.rivals.nats import nats_server
from benchmarks.scenario import TOPIC


@frozen
class Requests:
    """Requests of nats.py to a responder that runs."""

    who: str
    measure: Callable[..., Any]


@contextmanager
def nats_requests(
    where: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Requests]:
    """Request and reply of nats.py, with a nats-server and a responder that are ready.

    Args:
        where: the responder is started.

    Raises:
        NotMeasuredError: something is not installed.
    """
    interpreter = python("nats-py", "nats-py")
    with nats_server() as server:
        options = {"port": server.port, "subject": TOPIC}
        with ExitStack() as stack:
            with where():
                responder = program("rivals.programs.nats_responder", interpreter, **options)
                report = stack.enter_context(responder).report()
            who = f"nats.py {report['client']} in both processes, nats-server {report['server']}"
            yield Requests(
                who, partial(measured, "rivals.programs.nats_requester", interpreter, **options)
            )
