"""The link to Redis: two connections that come back by themselves, and the embedded server.

address        a Redis URL, and the endpoint it stands for
protocol       txredisapi's protocols, replies matched by order and name
connection     the state machine that keeps one connection
subscriptions  what is wanted, and what is acknowledged
statistics     what each connection counts
link           both connections, and the commands that wait for them
embedded       a Redis-compatible server as a child process; `guard` ends it with its parent
"""

from opentera_twisted.link.address import DEFAULT_URL, RedisAddress
from opentera_twisted.link.link import COMMAND_TIMEOUT, MAX_WAITING, Link, Script
from opentera_twisted.link.protocol import Argument, Done
from opentera_twisted.link.statistics import ConnectionStatistics
from opentera_twisted.link.subscriptions import Name

__all__ = [
    "COMMAND_TIMEOUT",
    "DEFAULT_URL",
    "MAX_WAITING",
    "Argument",
    "ConnectionStatistics",
    "Done",
    "Link",
    "Name",
    "RedisAddress",
    "Script",
]
