"""The link to Redis: two connections to each server, which reconnect by themselves.

strangers       recognition of other servers at Redis's address
error_replies   Redis's error replies as errors
statistics      counts of each connection
slots           hash slots of a cluster
topology        owners of slots
cluster_errors  reaction to errors of cluster nodes: MOVED, ASK, TRYAGAIN, CLUSTERDOWN
protocol        a connection for commands, and one for published messages
endpoints       endpoints that need no thread of the reactor's pool
sentinel        endpoint that asks sentinels for the address of the primary
address         Redis URLs and their endpoints
credentials     user, password and certificates
tls             TLS of a connection
secret_file     password of a URL in a separate file
back_off        delays between attempts to connect
connection      state machine that keeps one connection
factory         kept connection to Redis
subscriptions   wanted and acknowledged subscriptions
keyspaces       keys that scripts use together, on one server and on a cluster
observers       functions to call on events of a link
outage          log of an outage: begin, a line each minute, end
threads         the check that programs use a link in its reactor's thread
waiting         queue of commands that wait for the link
link            interface of every link
server_link     both connections to one server
cluster_subscriptions  topics by the node that owns their slot
cluster_link    links to all primaries of a cluster
blocking_connection  blocking connections without a reactor
retry_pause     retries of refused operations
"""

from opentera_twisted._internal.default_url import DEFAULT_URL
from opentera_twisted._internal.extras import explained

try:
    from opentera_twisted.link.address import RedisAddress, location
    from opentera_twisted.link.cluster_link import ClusterLink
    from opentera_twisted.link.cluster_subscriptions import is_always_sharded
    from opentera_twisted.link.keyspaces import PRESENCE, USER_MANAGER, Keyspace
    from opentera_twisted.link.link import COMMAND_TIMEOUT, MAX_WAITING, HasLink, Link, Script
    from opentera_twisted.link.protocol import Argument, Done
    from opentera_twisted.link.retry_pause import Retry
    from opentera_twisted.link.server_link import ServerLink
    from opentera_twisted.link.statistics import ConnectionStatistics
    from opentera_twisted.link.subscriptions import Name
except ModuleNotFoundError as error:
    raise explained(error) from None

__all__ = [
    "COMMAND_TIMEOUT",
    "DEFAULT_URL",
    "MAX_WAITING",
    "PRESENCE",
    "USER_MANAGER",
    "Argument",
    "ClusterLink",
    "ConnectionStatistics",
    "Done",
    "HasLink",
    "Keyspace",
    "Link",
    "Name",
    "RedisAddress",
    "Retry",
    "Script",
    "ServerLink",
    "is_always_sharded",
    "location",
]
