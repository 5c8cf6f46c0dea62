"""Tools for tests of programs that use the bus, without a network, a server or real time.

memory_bus        `MemoryBus`: a `Bus` on a Redis in memory
memory_redis      the Redis in memory: the commands that a bus sends, and its connections
memory_variables  variables of the Redis in memory
results           `result_of`: result of a Deferred that has fired
scripts           the scripts of a bus, in Python
clock             Twisted's ``Clock`` with the other methods of a reactor
"""

from opentera_twisted.testing.clock import MemoryClock
from opentera_twisted.testing.memory_bus import MemoryBus
from opentera_twisted.testing.memory_redis import MemoryRedis
from opentera_twisted.testing.results import result_of

__all__ = ["MemoryBus", "MemoryClock", "MemoryRedis", "result_of"]
