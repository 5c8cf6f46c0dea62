"""An honest websocket client that must get every event once, in order."""

from __future__ import annotations

import re
import socket
import struct
from threading import Condition, Thread
from time import perf_counter

from tests.conformance.frames import CLOSE, PING, PONG, TEXT, frame
from tests.helpers.support import GUARD
from tests.helpers.websockets import handshake

_NUMBER = re.compile(rb'"userFullname": ?"witnessed (\d+)"')


def named(number: int) -> str:
    """Return the name in the event of that number."""
    return f"witnessed {number}"


class Witness:
    """A websocket that counts numbered events and skips others.

    Attributes:
        arrivals: Time of each numbered event, in seconds of `time.perf_counter`.
    """

    def __init__(self, port: int, key: str) -> None:
        self.arrivals: list[float] = []
        self._fault = ""
        self._changed = Condition()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(handshake(f"/wss/user?id={key}".encode()))
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline()
        assert b" 101 " in status, f"the witness was refused: {status!r}"
        while self._stream.readline() != b"\r\n":
            pass
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break the connection."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._stream.close()
        self._socket.close()

    def wait(self, count: int) -> None:
        """Return when that many events have arrived.

        Raises:
            AssertionError: An event was lost, doubled or out of order, or the websocket ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._fault or len(self.arrivals) >= count, GUARD)
            assert not self._fault, self._fault
            assert len(self.arrivals) >= count, (
                f"the witness got {len(self.arrivals)} of {count} events in {GUARD} s"
            )

    def _run(self) -> None:
        try:
            while not self._fault:
                self._read()
        except (OSError, struct.error) as error:
            self._fail(f"the websocket of the witness ended: {error!r}")

    def _read(self) -> None:
        first, length = struct.unpack("!BB", self._stream.read(2))
        if length == 126:
            (length,) = struct.unpack("!H", self._stream.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._stream.read(8))
        payload = self._stream.read(length)
        if first == 0x80 | TEXT:
            found = _NUMBER.search(payload)
            if found:
                self._arrived(int(found[1]))
        elif first == 0x80 | PING:
            self._socket.sendall(frame(PONG, payload))
        elif first == 0x80 | CLOSE:
            self._fail(f"the gateway closed the websocket of the witness: {payload!r}")
        else:
            self._fail(f"the witness got a frame that begins with {first:#x}")

    def _arrived(self, number: int) -> None:
        expected = len(self.arrivals)
        if number != expected:
            self._fail(f"the witness got event {number} instead of {expected}")
            return
        with self._changed:
            self.arrivals.append(perf_counter())
            self._changed.notify_all()

    def _fail(self, fault: str) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()
