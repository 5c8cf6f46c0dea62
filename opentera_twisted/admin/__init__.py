"""What operators look at, over HTTP: health, metrics, the console page; the client for browsers.

guard      who may ask
health     how the program is
sampler    how late the reactor is, and each second's rates
metrics    what Prometheus reads
overview   all three of this process, behind what the site asks of any
traffic    what is published, while somebody watches
summary    one line of it, and all of it
rights     what the panels need on Redis
requests   the JSON that the page sends, checked
console    what the page asks, answered; its files are in the folder page
resource   the paths
settings   its settings
site       what all answers have in common
"""

from opentera_twisted._internal.extras import explained

try:
    from opentera_twisted.admin.overview import LocalOverview, Overview
    from opentera_twisted.admin.resource import admin_site
    from opentera_twisted.admin.settings import ConsoleMode, Websockets
except ModuleNotFoundError as error:
    raise explained(error) from None

__all__ = ["ConsoleMode", "LocalOverview", "Overview", "Websockets", "admin_site"]
