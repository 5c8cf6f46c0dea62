"""The link to Redis: two connections that come back by themselves.

strangers       what answers where Redis should
refusals        Redis's error replies as errors
statistics      what each connection counts
protocol        txredisapi's protocols, replies matched by order and name
endpoints       endpoints that wait for no thread of the program
sentinel        an endpoint that asks sentinels which Redis is the primary
address         a Redis URL, and the endpoint it stands for
secret_file     a URL's password in a file of its own
connection      the state machine that keeps one connection
factory         a connection to Redis that it keeps
subscriptions   what is wanted, and what is acknowledged
observers       functions to call at the events of a link
waiting         the commands that wait for the link
link            both connections
plain           connections that block, without a reactor
retry           trying again what Redis did not take
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
