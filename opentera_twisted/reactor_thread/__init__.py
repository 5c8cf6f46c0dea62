"""A reactor in a separate thread, for programs with other threads of their own.

real_threads  detection of threads that gevent or eventlet has replaced
running       start of the reactor when needed, and calls of functions in it
thread_calls  such a call, and the thread or event loop that waits for it
shared_bus    one bus for each Redis, shared by all objects
handlers      handlers of a program, called in threads
logs          log messages, sent by a thread where no reactor runs
"""

from opentera_twisted.reactor_thread.handlers import ContextQueue, SerialQueue, in_thread
from opentera_twisted.reactor_thread.logs import ThreadLogPublisher
from opentera_twisted.reactor_thread.running import (
    check_not_forked,
    run,
    run_in_context,
    run_in_loop,
    run_in_loop_in_context,
    running_reactor,
)
from opentera_twisted.reactor_thread.shared_bus import BusLease

__all__ = [
    "BusLease",
    "ContextQueue",
    "SerialQueue",
    "ThreadLogPublisher",
    "check_not_forked",
    "in_thread",
    "run",
    "run_in_context",
    "run_in_loop",
    "run_in_loop_in_context",
    "running_reactor",
]
