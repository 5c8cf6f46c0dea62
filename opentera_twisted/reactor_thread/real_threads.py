"""Detection of threads that are none: gevent and eventlet replace Python's."""

from __future__ import annotations

import sys

from opentera_twisted.errors import PatchedThreads


def check_threads() -> None:
    """See that the threads of this process are the system's.

    Raises:
        PatchedThreads: gevent or eventlet has replaced them.
    """
    for library, module, question, name in (
        ("gevent", "gevent.monkey", "is_module_patched", "threading"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
    ):
        if getattr(sys.modules.get(module), question, lambda _: False)(name):
            raise PatchedThreads(
                f"{library} has replaced this process's threads, and in none of its own can the "
                "reactor run: use workers with real threads, as gunicorn --worker-class gthread "
                "--threads 8"
            )
