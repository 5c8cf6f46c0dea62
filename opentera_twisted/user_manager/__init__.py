"""``TeraServer.UserManagerModule`` without an OpenTera server: online and busy identities.

changes     changes requested by a message to the module
registry    online and busy identities in Redis, shared by all programs that run the module
procedures  the module's procedures
service     applies messages to the registry and serves the procedures

Source: docs/reference/wire.md.
"""

from opentera_twisted.user_manager.service import UserManager

__all__ = ["UserManager"]
