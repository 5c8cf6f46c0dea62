"""Worker processes that share the websockets, and the parent that supervises them.

::

    parent                                               each worker
    pool ------ process ------ channel ~~~ socket ~~~ channel ------ worker_main: a bus, a gateway
     |             |                                                    |
    sockets     log: the worker's events in the parent's log         sockets, inherited

::

    channel      messages between parent and worker; each notices the other's end by it
    sockets      listening sockets, bound by the parent, accepted on by the workers
    log          log events, sent to the parent
    process      the process of one worker, as the parent starts, watches and kills it
    pool         starts, supervises, replaces and stops the workers
    overview     state of all workers, for the admin endpoint
    bootstrap    the script that a worker's process runs first
    worker_main  the program of a worker
"""

from opentera_twisted.program.workers.channel import WorkerSettings
from opentera_twisted.program.workers.pool import Pool

__all__ = ["Pool", "WorkerSettings"]
