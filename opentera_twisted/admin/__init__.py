"""What operators look at: health, over HTTP."""

from opentera_twisted.admin.resource import admin_site

__all__ = ["admin_site"]
