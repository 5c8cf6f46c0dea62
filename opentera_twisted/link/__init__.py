"""The link to Redis: two connections that come back by themselves, and the embedded server.

address         a Redis URL, and the endpoint it stands for
sentinel        that endpoint where sentinels know which Redis is the primary
secret_file     a URL's password in a file of its own
protocol        txredisapi's protocols, replies matched by order and name
refusals        Redis's error replies as errors
connection      the state machine that keeps one connection
subscriptions   what is wanted, and what is acknowledged
statistics      what each connection counts
waiting         the commands that wait for the link
link            both connections
retry           trying again what Redis did not take
embedded        a Redis-compatible server of the program's own
server_process  one run of it
guard           the script that ends it with its parent, however that ends
"""

from opentera_twisted.link.address import DEFAULT_URL, RedisAddress
from opentera_twisted.link.link import COMMAND_TIMEOUT, MAX_WAITING, HasLink, Link, Script
from opentera_twisted.link.protocol import Argument, Done
from opentera_twisted.link.retry import Retry
from opentera_twisted.link.statistics import ConnectionStatistics
from opentera_twisted.link.subscriptions import Name

__all__ = [
    "COMMAND_TIMEOUT",
    "DEFAULT_URL",
    "MAX_WAITING",
    "Argument",
    "ConnectionStatistics",
    "Done",
    "HasLink",
    "Link",
    "Name",
    "RedisAddress",
    "Retry",
    "Script",
]
