"""Python programs forked from a process that has imported their modules.

Importing is most of the time of a command or a gateway that a test starts. Each test process has
one *nursery*, which imports once and then forks for each request. A forked program is like one
started afresh: it has its own arguments, environment, files, session, directory and reactor. It
ends with the test process.

    test process --- command, files --> nursery --- fork --> program
                 <------- exit status ----'
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from functools import cache
from pathlib import Path
from subprocess import Popen
from types import ModuleType
from typing import IO, Any, Final, NamedTuple, NoReturn

from coverage import Coverage
from twisted.application.service import IServiceMaker
from twisted.internet import reactor
from twisted.plugin import getPlugins

from opentera_twisted.cli.commands import load_commands
from opentera_twisted.embedded.guard import PR_SET_PDEATHSIG
from opentera_twisted.embedded.process import guarded
from tests.helpers import forked_workers

_IMPORTED: Final = (
    "importlib.readers",
    "klein",
    "opentera_twisted.admin.site",
    "opentera_twisted.tap",
    "opentera_twisted.program.workers.overview",
    "opentera_twisted.program.workers.worker_main",
    "twisted.plugins.opentera_bus",
    "twisted.scripts.twistd",
)
FORK_WORKERS: Final = "OPENTERA_BUS_TEST_FORK_WORKERS"
"""Environment variable with which a forked program forks its workers too."""

_HANDLED: Final = frozenset({"PYTHONIOENCODING", "PYTHONPATH", "PYTHONUNBUFFERED"})
_MAKING: Final = threading.Lock()
_LARGEST: Final = 2**18
_MOST_FILES: Final = 64
_ABOVE: Final = 1000


def can_fork(env: Mapping[str, str]) -> bool:
    """Return True if a fork can have an environment: it must not change Python itself."""
    changed = {
        name
        for name, value in env.items()
        if name.startswith(("LD_", "PYTHON")) and os.environ.get(name) != value
    }
    return sys.platform == "linux" and changed <= _HANDLED


def started(command: Sequence[str], **options: Any) -> Popen[bytes]:
    """Start a program without a fork, in its own session; it ends with this thread."""
    path = shutil.which(command[0])
    if sys.platform != "linux" or path is None:
        return Popen(command, **options, start_new_session=True)
    return Popen(guarded("prctl", path, *command[1:]), **options)


def forked(
    command: Sequence[str],
    *,
    stdout: int,
    stderr: int,
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Popen[bytes] | Program:
    """Fork a program in its own session; start it without a fork where that is impossible.

    Args:
        command: ``sys.executable``, then ``-c CODE``, ``-m MODULE`` or a file, then arguments.
        stdout: File descriptor, like ``stdin`` and ``stderr``; the caller closes them.
        env: The complete environment.
        cwd: Working directory, by default that of this process.
        pass_fds: Further file descriptors, kept under the same numbers.
    """
    files = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    if not can_fork(env):
        return started(command, **files, env=env, cwd=cwd, pass_fds=pass_fds)
    request = {
        "arguments": command[1:],
        "environment": dict(env),
        "directory": cwd or str(Path.cwd()),
        "files": [0, 1, 2, *pass_fds],
    }
    ours, theirs = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    numbers = [nothing if file == subprocess.DEVNULL else file for file in files.values()]
    try:
        pid = _nursery().ask(request, [theirs, *numbers, *pass_fds])
    finally:
        os.close(theirs)
        os.close(nothing)
    return Program(pid, command, ours)


class Program:
    """A forked program, with the methods of `subprocess.Popen`."""

    def __init__(self, pid: int, command: Sequence[str], status: int) -> None:
        self.pid = pid
        self.args = command
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        if self.returncode is None and self._has_ended(0):
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status."""
        if self.returncode is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal if it is running."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL if it is running."""
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, timeout: float | None) -> bool:
        """Wait for its end; unlike ``select``, a poll takes any file number."""
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        return bool(poll.poll(None if timeout is None else 1000 * timeout))

    def _ended(self) -> None:
        data = os.read(self._status, 4)
        os.close(self._status)
        assert data, "the nursery has ended"
        (self.returncode,) = struct.unpack("i", data)


class _Nursery:
    """The test process's side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = Popen(
                [sys.executable, "-m", "tests.helpers.forked", str(number)],
                pass_fds=[number],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.close)

    def ask(self, request: object, files: list[int]) -> int:
        """Fork a program and return its process id."""
        data = json.dumps(request).encode(errors="surrogateescape")
        assert len(data) < _LARGEST
        with self._lock:
            socket.send_fds(self._socket, [data], files)
            (pid,) = struct.unpack("i", self._socket.recv(4))
        return int(pid)

    def close(self) -> None:
        """End the nursery."""
        self._socket.close()
        self._process.wait()


@cache
def _made() -> _Nursery:
    return _Nursery()


def _nursery() -> _Nursery:
    with _MAKING:
        return _made()


class _Request(NamedTuple):
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    targets: list[int]
    files: list[int]


def _save_coverage() -> None:
    """Save the coverage of the imports, so that no forked program saves it again."""
    measurement = Coverage.current()
    if measurement is not None:
        measurement.save()


def _serve(requests: socket.socket) -> _Request | None:
    """Fork for each request: returns it in the program, and None in the nursery at the end."""
    running: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(running)
        if requests.fileno() not in ready:
            continue
        data, files, _, _ = socket.recv_fds(requests, _LARGEST, _MOST_FILES)
        if not data:
            return None
        asked = json.loads(data.decode(errors="surrogateescape"))
        status, *files = files
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _Request(
                asked["arguments"], asked["environment"], asked["directory"], asked["files"], files
            )
        running[pid] = status
        for file in files:
            os.close(file)
        requests.send(struct.pack("i", pid))


def _tell_ends(running: dict[int, int]) -> None:
    """Send the exit status of each program that has ended."""
    for pid, file in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del running[pid]
            with suppress(BrokenPipeError):  # no caller waits for it
                os.write(file, struct.pack("i", os.waitstatus_to_exitcode(status)))
            os.close(file)


def _become(request: _Request, nursery: int, libc: ctypes.CDLL) -> None:
    """Set up this process with the request's arguments and files."""
    measurement = Coverage.current()
    if measurement is not None and not request.environment.get("COVERAGE_PROCESS_CONFIG"):
        measurement.stop()
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != nursery:  # it ended before the call of prctl
        sys.exit("the nursery has ended")
    _take(request.files, request.targets)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    is_binary = bool(request.environment.get("PYTHONUNBUFFERED"))
    encoding, _, errors = request.environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin = open(0, encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1, encoding, errors or "strict", is_binary)
    sys.stderr = _stream(2, encoding, "backslashreplace", is_binary=True)
    if os.environ.pop(FORK_WORKERS, None):
        forked_workers.prepare(_take, _end)


def _take(files: Sequence[int], targets: Sequence[int]) -> None:
    """Close all files but these, which get these numbers; open a reactor's own."""
    moved = [fcntl(file, F_DUPFD_CLOEXEC, _ABOVE) for file in files]
    services: Any = reactor
    services._poller.close()  # it shares that of the process that forked it
    os.closerange(0, _ABOVE)
    for file, target in zip(moved, targets, strict=True):
        os.dup2(file, target)
        os.close(file)
    services.__init__()


def _stream(number: int, encoding: str, errors: str, is_binary: bool) -> IO[str]:
    raw: Any = open(number, "wb", buffering=0 if is_binary else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        raw, encoding, errors, line_buffering=os.isatty(number), write_through=is_binary
    )


def _run(arguments: list[str]) -> int:
    """Interpret the arguments as Python does; return the exit status."""
    try:
        _run_program(arguments)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)  # noqa: T201
        return 1
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """Exit as Python does, but skip the costly teardown of modules."""
    vars(threading)["_shutdown"]()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _run_program(arguments: list[str]) -> None:
    if not arguments[0].startswith("-"):
        sys.path[0] = str(Path(arguments[0]).parent)
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        return
    option, what, *others = arguments
    sys.path[0] = ""
    if option == "-m":
        sys.argv = ["-m", *others]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *others]
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(module))


def main(number: str) -> None:
    """Run the nursery until the test process ends."""
    for name in _IMPORTED:
        importlib.import_module(name)
    load_commands()
    list(getPlugins(IServiceMaker))  # imports the plugins of all packages
    _save_coverage()
    gc.freeze()
    requests = socket.socket(fileno=int(number))
    nursery, libc = os.getpid(), ctypes.CDLL(None)
    request = _serve(requests)
    if request is not None:
        requests.detach()
        _become(request, nursery, libc)
        _end(_run(request.arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
