"""For programs whose threads are not the reactor's: it runs in one of its own, shared by all.

real_threads  detects threads that gevent or eventlet has replaced
running       starts it when it is needed, and runs functions there
thread_calls  such a function, and the thread that waits for it
shared        one bus for each Redis, however many objects use it
handlers      what a program has given us, called in its threads and not in the reactor's
logs          log messages, sent by a thread where no reactor runs
"""

from opentera_twisted.reactor_thread.handlers import SerialQueue, in_thread
from opentera_twisted.reactor_thread.logs import ThreadLogPublisher
from opentera_twisted.reactor_thread.running import check_not_forked, run, running_reactor
from opentera_twisted.reactor_thread.shared import BusLease

__all__ = [
    "BusLease",
    "SerialQueue",
    "ThreadLogPublisher",
    "check_not_forked",
    "in_thread",
    "run",
    "running_reactor",
]
