"""Shared variables: values under names in Redis, and the names that existing OpenTera programs use.

Source: docs/reference/variables.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from twisted.internet.defer import Deferred

from opentera_twisted._internal.timeouts import shown
from opentera_twisted._internal.unused import needs_use
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link import Link, Script
from opentera_twisted.watches import Watch, Watches, WatchHandler

LOGIN_ATTEMPTS_LIFETIME: Final = 120.0
LOGIN_2FA_ATTEMPTS_LIFETIME: Final = 900.0
SERVICE_AUTH_CODE_LIFETIME: Final = 300.0
SESSION_KEY_LIFETIME: Final = 60.0
"""Seconds for which existing OpenTera programs keep the variables named below."""


class Secret(StrEnum):
    """Names of the secrets that sign tokens: text that does not expire.

    Anyone who can read such a variable can forge tokens of its kind.

    Example:
        >>> await bus.variables.get(Secret.USER_TOKEN.value)  # None until OpenTera writes it
    """

    USER_TOKEN = "UserTokenAPIKey"
    DEVICE_TOKEN = "DeviceTokenAPIKey"
    DEVICE_STATIC_TOKEN = "DeviceStaticTokenAPIKey"
    PARTICIPANT_TOKEN = "ParticipantTokenAPIKey"
    PARTICIPANT_STATIC_TOKEN = "ParticipantStaticTokenAPIKey"
    SERVICE_TOKEN = "ServiceTokenAPIKey"


class LogList(StrEnum):
    """Names of the lists of log messages: serialized ``TeraEvent`` items, kept until read.

    Example:
        >>> LogList.INFO.value
        'log.info'
    """

    TRACE = "log.trace"
    DEBUG = "log.debug"
    INFO = "log.info"
    WARNING = "log.warning"
    CRITICAL = "log.critical"
    ERROR = "log.error"
    FATAL = "log.fatal"


def service_information(key: str) -> str:
    """Return the name of a service's information: JSON that does not expire.

    Example:
        >>> service_information("Bell")
        'service.Bell'
    """
    return f"service.{key}"


def user_login_attempts(uuid: str) -> str:
    """Return the name of a user's failed logins: decimal text, kept `LOGIN_ATTEMPTS_LIFETIME`.

    Example:
        >>> user_login_attempts("11111111-2222-3333-4444-555555555555")
        'UserLoginAttempts.11111111-2222-3333-4444-555555555555'
    """
    return f"UserLoginAttempts.{uuid}"


def participant_login_attempts(uuid: str) -> str:
    """Return the name of a participant's failed logins: as of `user_login_attempts`.

    Example:
        >>> participant_login_attempts("11111111-2222-3333-4444-555555555555")
        'ParticipantLoginAttempts.11111111-2222-3333-4444-555555555555'
    """
    return f"ParticipantLoginAttempts.{uuid}"


def user_2fa_login_attempts(uuid: str) -> str:
    """Return the name of a user's failed second factors, kept `LOGIN_2FA_ATTEMPTS_LIFETIME`.

    Example:
        >>> user_2fa_login_attempts("11111111-2222-3333-4444-555555555555")
        'User2FALoginAttempts.11111111-2222-3333-4444-555555555555'
    """
    return f"User2FALoginAttempts.{uuid}"


def service_auth_code(code: str) -> str:
    """Return the name of an authorisation code's JSON data, kept `SERVICE_AUTH_CODE_LIFETIME`.

    Example:
        >>> service_auth_code("1234")
        'service_auth_code_1234'
    """
    return f"service_auth_code_{code}"


COMPARE_AND_SET: Final = Script(
    """
    local value = redis.call('GET', KEYS[1])
    if ARGV[1] == 'absent' then
        if value then return 0 end
    elseif value ~= ARGV[2] then
        return 0
    end
    if ARGV[4] == '' then
        redis.call('SET', KEYS[1], ARGV[3])
    else
        redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
    end
    return 1
    """
)


class Variables:
    """Values that programs share under names.

    All Deferreds fail with `BusUnavailable`, `ConnectionLost` or `CommandFailed` (such as
    ``WRONGTYPE`` when the name holds a list).

    Args:
        link: the link that carries the commands.

    Example:
        >>> await bus.variables.set("counter", "1", only_if_absent=True)
        True
        >>> await bus.variables.compare_and_set("counter", expected="1", value="2")
        True
        >>> await bus.variables.get("counter")
        b'2'
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._watches = Watches(link)

    def get(self, name: str) -> Deferred[bytes | None]:
        """Read a variable.

        Returns:
            Fires with its bytes, or None when it does not exist.

        Source: Redis command GET.
        """
        return needs_use(self._link.execute("GET", encode_name(name)), "variables.get")

    def set(
        self,
        name: str,
        value: bytes | str,
        ttl: float | None = None,
        only_if_absent: bool = False,
    ) -> Deferred[bool]:
        """Write a variable.

        Args:
            name: name of the variable.
            value: bytes, or text (encoded in UTF-8).
            ttl: seconds until Redis deletes it; None removes any expiry.
            only_if_absent: write only a variable that does not exist.

        Returns:
            Fires with True if it was written.

        Source: Redis command SET.
        """
        arguments: list[bytes | str | int] = ["SET", encode_name(name), _value(value)]
        if ttl is not None:
            arguments += ["PX", milliseconds(ttl)]
        if only_if_absent:
            arguments.append("NX")
        return self._link.execute(*arguments).addCallback(lambda reply: reply is not None)

    def delete(self, *names: str) -> Deferred[int]:
        """Delete variables.

        Returns:
            Fires with the number of variables that existed.

        Source: Redis command DEL.
        """
        if not names:
            raise InvalidArgument("delete needs the name of at least one variable")
        return self._link.delete([encode_name(name) for name in names])

    def watch(self, name: str, handler: WatchHandler) -> Deferred[Watch]:
        """Call a handler with the value of a variable, now and whenever it changes.

        Values arrive in order; intermediate values may be skipped, but never the newest one. The
        handler is called again after the link was lost and restored.

        Args:
            name: name of the variable.
            handler: called with the name and the value; None when it does not exist, expired or was
                deleted.

        Returns:
            Fires with the `Watch` after the first call of the handler; ``cancel`` ends it.

        Raises:
            InvalidArgument: the name is invalid, or the handler has the wrong parameters.

        Fails with:
            BusUnavailable, WrongType, PermissionDenied: the variable cannot be read; the watch is
                cancelled.

        Source: Redis command CLIENT TRACKING; the server needs no setting for it.
        """
        return self._watches.watch(encode_name(name), handler)

    def compare_and_set(
        self, name: str, expected: bytes | str | None, value: bytes | str, ttl: float | None = None
    ) -> Deferred[bool]:
        """Write a variable only if it still has the expected value, atomically.

        Args:
            name: name of the variable.
            expected: the value it must have; None if it must not exist.
            value: as in `set`.
            ttl: as in `set`.

        Returns:
            Fires with True if it was written.

        Source: Redis commands GET and SET, in one script.
        """
        compared = self._link.run(
            COMPARE_AND_SET,
            [encode_name(name)],
            "absent" if expected is None else "equal",
            b"" if expected is None else _value(expected),
            _value(value),
            "" if ttl is None else milliseconds(ttl),
        )
        return compared.addCallback(bool)


def milliseconds(ttl: float) -> int:
    """Convert a lifetime in seconds to milliseconds for Redis.

    Raises:
        InvalidArgument: it is not a number, or shorter than a millisecond.

    Example:
        >>> milliseconds(1.5)
        1500
    """
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0.001 <= ttl < 2**40:
        raise InvalidArgument(
            f"a ttl must be a number of seconds, at least 0.001, not {shown(ttl)}"
        )
    return round(ttl * 1000)


def encode_name(name: str) -> bytes:
    """Encode the name of a variable.

    Raises:
        InvalidArgument: it is empty, not a string, or cannot be encoded in UTF-8.

    Example:
        >>> encode_name("service.Bell")
        b'service.Bell'
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"a variable's name must be a non-empty string, not {name!r}")
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"a variable's name must be valid UTF-8 text, not {name!r}") from None


def _value(value: bytes | str) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "the text of the value cannot be encoded in UTF-8; give bytes"
            ) from None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise InvalidArgument(f"a variable's value must be bytes or str, not {type(value).__name__}")
