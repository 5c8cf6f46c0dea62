"""Several processes that share the websockets of one machine, and the one that watches them.

::

    parent                                               each worker
    pool ------ process ------ channel ~~~ socket ~~~ channel ------ worker: a bus, a gateway
     |             |                                                    |
    sockets     log: the worker's events in the parent's log         sockets, inherited

::

    channel   what both say to each other; its end is the end of the other one
    sockets   listening sockets, bound by the parent, accepted on by the workers
    log       events on their way to the parent's log
    process   one worker, as the parent sees it
    pool      starts them, watches them, replaces them, ends them
    overview  what the admin endpoint shows of all of them
    worker    what runs in a worker
    start     the script that a worker begins with
"""

from opentera_twisted.program.workers.channel import WorkerSettings
from opentera_twisted.program.workers.pool import Pool

__all__ = ["Pool", "WorkerSettings"]
