"""Detection of threads that gevent or eventlet has replaced."""

from __future__ import annotations

import sys

from opentera_twisted.errors import PatchedThreads


def check_threads() -> None:
    """Check that the threads of this process are threads of the operating system.

    Raises:
        PatchedThreads: gevent or eventlet has replaced them.
    """
    for library, module, question, name in (
        ("gevent", "gevent.monkey", "is_module_patched", "threading"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
    ):
        if getattr(sys.modules.get(module), question, lambda _: False)(name):
            raise PatchedThreads(
                f"{library} has replaced this process's threads, in which the reactor cannot run; "
                "use workers with real threads, such as gunicorn --worker-class gthread "
                "--threads 8"
            )
