"""The admin endpoint: health, metrics and the console page over HTTP; the client for browsers.

guard        access checks: host names, tokens, sessions, origins
health       readiness and state of the program
history      samples of the last minutes and the last hour: reactor delay, and rates
metrics      metrics for Prometheus
incidents    times of refused logins, slow clients, reconnects and gaps
own_traffic  counts of the console's own messages and calls
overview     health, samples and metrics of this process, behind one interface
traffic      published messages, watched on demand
procedures   figures of all servers' procedures
summary      readable form of a message
rights       Redis rights that the panels need
requests     parsing of the page's JSON requests
console      replies to the page; its files are in the folder page
resource     the URL paths
settings     settings of the endpoint
site         HTTP site: common headers, limit on bodies
"""

from opentera_twisted._internal.extras import explained

try:
    from opentera_twisted.admin.overview import LocalOverview, Overview
    from opentera_twisted.admin.resource import admin_site
    from opentera_twisted.admin.settings import ConsoleMode, Websockets
except ModuleNotFoundError as error:
    raise explained(error) from None

__all__ = ["ConsoleMode", "LocalOverview", "Overview", "Websockets", "admin_site"]
