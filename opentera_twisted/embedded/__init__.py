"""The embedded server: a Redis-compatible server of the program's own.

guard    a script that ends a server with its parent, however that ends
process  one run of a server under the guard
server   `EmbeddedServer`: starts the server, and again whenever it dies
probe    what listens at the address of the server
"""

from opentera_twisted.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
