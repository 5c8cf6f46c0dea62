"""The ``TeraServer.UserManagerModule`` for use without an OpenTera server: who is online and busy.

changes     what a message to the module changes
registry    who is online and busy, in Redis, shared by all that run the module
procedures  what programs call
service     feeds the registry with messages, and answers calls

Source: docs/reference/wire.md.
"""

from opentera_twisted.user_manager.service import UserManager

__all__ = ["UserManager"]
