"""What operators look at, over HTTP: health; and the client that browsers load."""

from opentera_twisted.admin.resource import admin_site

__all__ = ["admin_site"]
