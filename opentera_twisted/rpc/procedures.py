"""Procedures of a server, declared by the signatures of functions.

::

    procedures = Procedures(version="1.2", doc="Adds numbers.")

    @procedures.expose
    async def add(a: int, b: int = 0) -> int:
        "Add two numbers."
        return a + b

An invalid declaration raises an error at once. Arguments are checked before a function runs.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, overload

from attrs import frozen

from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.rpc.argument_types import ArgumentValue
from opentera_twisted.rpc.description import (
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.methods import own_doc, own_methods, without_hint
from opentera_twisted.rpc.signature import Parameter, parameters, returns, where
from opentera_twisted.rpc.wire import LONGEST_NAME

Function = TypeVar("Function", bound=Callable[..., Any])

RESERVED: Final = "opentera."
"""Prefix of the procedures that every server has."""


class ArgumentsMismatch(Exception):
    """The arguments of a request do not match the procedure; the message names the mismatch."""


@frozen
class Procedure:
    """A function that callers can call.

    Attributes:
        name: name of the procedure.
        doc: documentation of the procedure.
        function: function to call; it may return a Deferred or a coroutine.
        parameters: its arguments, by position.
        rest: type of further arguments, or None when it has none.
        thread: run it in a thread.
        timeout: seconds until the call fails; None: no limit.
        returns: type hint of its result as text; empty when there is none.
    """

    name: str
    doc: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    rest: Parameter | None
    thread: bool
    timeout: float | None
    returns: str

    def describe(self) -> ProcedureDescription:
        """Describe the procedure to callers."""
        arguments = [
            ArgumentDescription(
                parameter.name,
                f"{parameter} | None" if parameter.default is None else str(parameter),
                parameter.default,
            )
            for parameter in self.parameters
        ]
        if self.rest is not None:
            arguments.append(ArgumentDescription(f"*{self.rest.name}", str(self.rest)))
        return ProcedureDescription(self.name, self.doc, tuple(arguments), self.returns)

    def check(self, arguments: Sequence[ArgumentValue | None]) -> None:
        """Check that arguments match the signature.

        Raises:
            ArgumentsMismatch: an argument does not; the message says which, and what is expected.
        """
        if len(arguments) == len(self.parameters) and all(
            map(Parameter.accepts, self.parameters, arguments)
        ):
            return  # the usual case
        required = sum(parameter.required for parameter in self.parameters)
        most = len(self.parameters)
        if len(arguments) < required:
            missing = self.parameters[len(arguments)].name
            raise ArgumentsMismatch(
                f"{self.name} takes {self._count(required, most)}, got {len(arguments)}: "
                f"{missing} is missing"
            )
        if len(arguments) > most and self.rest is None:
            raise ArgumentsMismatch(
                f"{self.name} takes {self._count(required, most)}, got {len(arguments)}"
            )
        for position, value in enumerate(arguments):
            parameter = self.parameters[position] if position < most else self.rest
            assert parameter is not None  # noqa: S101 (checked above)
            if value is None:
                raise ArgumentsMismatch(
                    f"argument {position + 1} ({parameter.name}) of {self.name} has no value"
                )
            if not parameter.accepts(value):
                raise ArgumentsMismatch(
                    f"argument {position + 1} ({parameter.name}) of {self.name} must be "
                    f"{parameter}, got {type(value).__name__}"
                )

    def _count(self, required: int, most: int) -> str:
        if self.rest is not None:
            number, plural = f"at least {required}", required != 1
        elif required == most:
            number, plural = str(most), most != 1
        else:
            number, plural = f"{required} to {most}", True
        return f"{number} argument{'s' if plural else ''}"


class Procedures:
    """The procedures of one service or module.

    Args:
        version: version of the service.
        doc: documentation of the service.

    Example:
        >>> procedures = Procedures(version="1.2")
        >>> @procedures.expose
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> server = await bus.serve_service("Double", procedures)
        >>> await bus.call_service("Double", "double", 21)
        42
    """

    def __init__(self, version: str = "", doc: str = "") -> None:
        self.version = version
        self.doc = doc
        self._procedures: dict[str, Procedure] = {}

    @classmethod
    def of(cls, target: object, version: str = "", doc: str | None = None) -> Procedures:
        """Declare the public methods of an object, each under its own name.

        Only functions are declared that the object's class defines, or its bases in the same
        top-level package. Names stay private that begin with an underscore, or that another base
        defines (such as a Twisted service or a thread). Attributes and properties stay private too.
        `expose` can declare any of them by name.

        Args:
            target: object with the methods.
            version: version of the service.
            doc: documentation of the service; None uses that of the object's class.

        Returns:
            The declared procedures.

        Raises:
            InvalidArgument: there is no method, or a method is a lambda, belongs to another
                package, or has an unsuitable signature.

        Warns:
            UserWarning: an argument has no type hint, so that callers may pass any type.
        """
        procedures = cls(version, own_doc(target) if doc is None else doc)
        for name, method in own_methods(target):
            procedures.expose(name=name)(method)
            missing = without_hint(method)
            if missing:
                warnings.warn(
                    f"{type(target).__name__}.{name} ({where(method)}): no type hint of "
                    f"{', '.join(missing)}, so callers may give any type",
                    stacklevel=2,
                )
        if not procedures._procedures:
            raise InvalidArgument(f"{target!r} has no public methods")
        return procedures

    def get(self, name: str) -> Procedure | None:
        """Get a procedure by name, or None."""
        return self._procedures.get(name)

    def adapted(self, adapt: Callable[[Procedure], Procedure]) -> Procedures:
        """Copy the procedures, each changed by ``adapt``."""
        procedures = Procedures(self.version, self.doc)
        procedures._procedures = {procedure.name: adapt(procedure) for procedure in self}
        return procedures

    def describe(self, service: str) -> Description:
        """Describe all procedures to callers."""
        described = tuple(procedure.describe() for procedure in self)
        return Description(service, self.version, self.doc, described)

    def __iter__(self) -> Iterator[Procedure]:
        return iter(self._procedures.values())

    @overload
    def expose(self, function: Function, /) -> Function: ...

    @overload
    def expose(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        thread: bool = False,
        timeout: float | None = None,
    ) -> Callable[[Function], Function]: ...

    def expose(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        thread: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Declare a procedure: ``@procedures.expose``, or with options.

        Args:
            function: function with type hints bool, int, float, str, bytes, or unions of these; an
                argument without a hint accepts any of them.
            name: name of the procedure; None uses the function's name.
            thread: run it in a thread, because it blocks.
            timeout: seconds until the call fails; None: no limit.

        Returns:
            The function itself.

        Raises:
            InvalidArgument: the declaration is invalid; the message says where and why.
        """
        if function is None:
            return lambda function: self._declare(function, name, thread, timeout)
        return self._declare(function, name, thread, timeout)

    def _declare(
        self, function: Function, name: str | None, thread: bool, timeout: float | None
    ) -> Function:
        if not callable(function):
            raise InvalidArgument(f"a procedure must be a function, not {function!r}")
        name = getattr(function, "__name__", None) if name is None else name
        if name == "<lambda>":
            raise InvalidArgument(f"a lambda has no name ({where(function)}); pass name=...")
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"a procedure's name must be a string, not {name!r}")
        if len(name) > LONGEST_NAME:
            raise InvalidArgument(
                f"a procedure's name may have {LONGEST_NAME} characters: {where(function)}"
            )
        if name.startswith(RESERVED):
            raise InvalidArgument(f"{name}: names that begin with {RESERVED} are reserved")
        if name in self._procedures:
            raise InvalidArgument(f"{name} is already declared: {where(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidArgument(f"{name} is a generator, but a call has one result")
        if thread and inspect.iscoroutinefunction(function):
            raise InvalidArgument(f"{name} is a coroutine function, which cannot run in a thread")
        if timeout is not None:
            check_timeout(timeout, f"the timeout of {name}")
        declared, rest = parameters(name, function)
        self._procedures[name] = Procedure(
            name,
            inspect.getdoc(function) or "",
            function,
            declared,
            rest,
            thread,
            timeout,
            returns(function),
        )
        return function
