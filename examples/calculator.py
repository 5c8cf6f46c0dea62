"""A service as a plain script: python examples/calculator.py [REDIS_URL].

Call it with ``opentera-bus call service.Calculator add 1 2``. Procedures run in threads, where they
may block. Ctrl-C ends the script.
"""

import sys
import threading

from opentera_twisted import ProcedureError, Procedures
from opentera_twisted.blocking import BlockingBus

procedures = Procedures(version="1.0", doc="Adds and divides.")


@procedures.expose
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@procedures.expose
def divide(a: float, b: float) -> float:
    """Divide a by b."""
    if b == 0:
        raise ProcedureError("b must not be 0")  # the caller reads this
    return a / b


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/0"
    with BlockingBus(url, name="calculator") as bus:
        server = bus.serve_service("Calculator", procedures)
        print("serving; end with Ctrl-C", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.stop()  # refuse new calls, finish running ones
            print("stopped", flush=True)
