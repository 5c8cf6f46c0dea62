"""For tests of programs that use the bus: no network, no server, and no time that passes by itself.

memory_bus        `MemoryBus`: a `Bus` whose link leads to a Redis in memory
memory_redis      that Redis: the commands that a bus sends, and who is connected
memory_variables  what stands under its names
results           `result_of`: the value that a Deferred has fired with
scripts           what a bus has run in it
clock             a ``Clock`` of Twisted that also stands in for the rest of a reactor
"""

from opentera_twisted.testing.clock import MemoryClock
from opentera_twisted.testing.memory_bus import MemoryBus
from opentera_twisted.testing.memory_redis import MemoryRedis
from opentera_twisted.testing.results import result_of

__all__ = ["MemoryBus", "MemoryClock", "MemoryRedis", "result_of"]
