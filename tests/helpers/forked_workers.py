"""Workers of a forked program, forked too.

The program has a *copy* of itself from before it ran. The copy forks each worker. Because the
program adopts orphans, the worker becomes its child, as if the program had started it::

    program --- bootstrap.py, files --> copy --- fork --> (ends) --- fork --> worker
            <------- process id -------'
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from twisted.internet.process import Process

from opentera_twisted.program.workers.process import BOOTSTRAP
from opentera_twisted.program.workers.worker_main import run

PR_SET_CHILD_SUBREAPER: Final = 36
"""Option of ``prctl``, from ``<sys/prctl.h>``: become the parent of descendants' orphans."""

_LARGEST: Final = 2**18
_MOST_FILES: Final = 64


def prepare(
    take: Callable[[Sequence[int], Sequence[int]], None], end: Callable[[int], Any]
) -> None:
    """Fork the workers of this program from here on.

    Args:
        take: Gives a forked process these files under these numbers, and its own reactor.
        end: Ends a forked process with a status.
    """
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        requests.close()
        _serve(theirs, take, end)
    theirs.close()
    requests.settimeout(600.0)  # the tests' own
    started: Any = Process._fork

    def fork(
        process: Any, path: Any, uid: Any, gid: Any, executable: str, args: Sequence[str],
        environment: Mapping[str, str], fdmap: Mapping[int, int],
    ) -> None:  # fmt: skip
        if str(BOOTSTRAP) not in args:
            started(process, path, uid, gid, executable, args, environment, fdmap=fdmap)
            return
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        request = {"arguments": args, "environment": dict(environment), "files": [*fdmap]}
        data = json.dumps(request).encode(errors="surrogateescape")
        socket.send_fds(requests, [data], [*fdmap.values()])
        (process.pid,) = struct.unpack("i", requests.recv(4))
        process.status = -1

    programs: Any = Process
    programs._fork = fork


def _serve(
    requests: socket.socket,
    take: Callable[[Sequence[int], Sequence[int]], None],
    end: Callable[[int], Any],
) -> NoReturn:
    """Fork a worker for each request, until the program ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    take([nothing, nothing, nothing, requests.detach()], [0, 1, 2, 3])
    requests = socket.socket(fileno=3)
    while True:
        data, files, _, _ = socket.recv_fds(requests, _LARGEST, _MOST_FILES)
        if not data:
            os._exit(0)
        heard, told = os.pipe()
        between = os.fork()
        if between == 0:
            worker = os.fork()
            if worker == 0:
                requests.detach()
                _work(json.loads(data.decode(errors="surrogateescape")), files, take, end)
            os.write(told, struct.pack("i", worker))
            os._exit(0)
        os.waitpid(between, 0)  # now the worker is the program's child
        os.close(told)  # first: without a worker, the pipe is at its end
        requests.send(os.read(heard, 4))
        for file in (heard, *files):
            os.close(file)


def _work(
    request: dict[str, Any],
    files: Sequence[int],
    take: Callable[[Sequence[int], Sequence[int]], None],
    end: Callable[[int], Any],
) -> NoReturn:
    """Do what ``bootstrap.py`` does."""
    take(files, request["files"])
    os.environ.clear()
    os.environ.update(request["environment"])
    *_, number, _ = request["arguments"]
    end(run(int(number)))
    raise AssertionError
