"""Keep the newest events of a topic in a Redis list: python examples/recent_events.py [REDIS_URL].

The bus sends txredisapi's commands over its own connection, so the program needs no Redis client of
its own. Read the list with ``redis-cli lrange recent-events 0 9``. Ctrl-C ends the program.
"""

import sys
import threading

from opentera_twisted import Delivery
from opentera_twisted.blocking import BlockingBus

TOPIC = "module.TeraServer.UserManagerModule.events"
LIST = "recent-events"
NEWEST = 100


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/0"
    with BlockingBus(url, name="recent-events") as bus:

        def keep(delivery: Delivery) -> None:
            """Put an event in front of the list, and drop those beyond its end."""
            bus.redis.lpush(LIST, delivery.payload)
            bus.redis.ltrim(LIST, 0, NEWEST - 1)

        bus.subscribe(TOPIC, keep)
        print(f"{bus.redis.llen(LIST)} events in {LIST}; end with Ctrl-C", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)
