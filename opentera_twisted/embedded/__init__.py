"""The embedded server: a Redis-compatible child process of the program.

guard    script that ends a server with its parent process
process  one run of a server under the guard
server   `EmbeddedServer`: starts the server, and restarts it when it dies
probe    check of the server's address
"""

from opentera_twisted.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
