"""What a server offers: procedures declared by the signatures of functions.

::

    procedures = Procedures(version="1.2", doc="Adds numbers.")

    @procedures.expose
    async def add(a: int, b: int = 0) -> int:
        "Adds."
        return a + b

A declaration that cannot work is an error when it is made. Arguments are checked before a function
runs: it gets what its signature says.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, overload

from attrs import frozen

from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.rpc.description import (
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.methods import own_doc, own_methods, without_hint
from opentera_twisted.rpc.signature import Parameter, parameters, returns, where
from opentera_twisted.rpc.values import ArgumentValue
from opentera_twisted.rpc.wire import LONGEST_NAME

Function = TypeVar("Function", bound=Callable[..., Any])

RESERVED: Final = "opentera."
"""How names begin that every server answers by itself."""


class ArgumentsMismatch(Exception):
    """The arguments of a request do not fit the procedure; the message says which."""


@frozen
class Procedure:
    """One function that can be called.

    Attributes:
        name: by which it is called.
        doc: what it is for.
        function: what is called; it may return a Deferred or a coroutine.
        parameters: its arguments by position.
        rest: what further arguments must be, or None when there are none.
        thread: whether it runs in a thread of the reactor's pool.
        timeout: seconds after which the caller is answered that it failed; None: no limit.
        returns: the hint of its result, as text; empty when there is none.
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
        """What callers are told of it."""
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
        """See that arguments fit the signature.

        Raises:
            ArgumentsMismatch: saying which argument does not, what it is and what it should be.
        """
        if len(arguments) == len(self.parameters) and all(
            map(Parameter.accepts, self.parameters, arguments)
        ):
            return  # nearly always
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
        version: of the service, for those who ask.
        doc: what the service is for.
    """

    def __init__(self, version: str = "", doc: str = "") -> None:
        self.version = version
        self.doc = doc
        self._procedures: dict[str, Procedure] = {}

    @classmethod
    def of(cls, target: object, version: str = "", doc: str | None = None) -> Procedures:
        """The public methods of an object, each under its own name.

        Only functions that the class of the object defines are offered, and those of its bases in
        the same top-level package. Attributes of the object, properties, names that begin with an
        underscore, and names that another base defines (a service of Twisted, a thread) stay
        private; `expose` can offer them by name.

        Args:
            target: whose methods these are.
            version: of the service.
            doc: what the service is for; that of the object's class when None.

        Raises:
            InvalidArgument: there is no method, or one is a lambda, a function of another package,
                or cannot be called from afar.

        Warns:
            UserWarning: an argument without a type hint, which callers may give any type.
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
        """The procedure of that name, or None."""
        return self._procedures.get(name)

    def adapted(self, adapt: Callable[[Procedure], Procedure]) -> Procedures:
        """The same procedures, each as ``adapt`` makes it: such as one that runs in a thread."""
        procedures = Procedures(self.version, self.doc)
        procedures._procedures = {one.name: adapt(one) for one in self}
        return procedures

    def describe(self, service: str) -> Description:
        """What callers are told of all of them."""
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
        """Declare a function callable: ``@procedures.expose``, or with options.

        Args:
            function: with hints of bool, int, float, str, bytes, or unions of these; an argument
                without a hint takes any of them.
            name: by which it is called; the function's own when None.
            thread: run it in a thread of the reactor's pool, because it blocks.
            timeout: seconds after which the caller is answered that it failed.

        Returns:
            The function itself.

        Raises:
            InvalidArgument: the declaration cannot work; the message says where and why.
        """
        if function is None:
            return lambda function: self._declare(function, name, thread, timeout)
        return self._declare(function, name, thread, timeout)

    def _declare(
        self, function: Function, name: str | None, thread: bool, timeout: float | None
    ) -> Function:
        if not callable(function):
            raise InvalidArgument(f"a procedure is a function, not {function!r}")
        name = getattr(function, "__name__", None) if name is None else name
        if name == "<lambda>":
            raise InvalidArgument(f"a lambda has no name ({where(function)}): give name=...")
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"a procedure's name is a string, not {name!r}")
        if len(name) > LONGEST_NAME:
            raise InvalidArgument(
                f"a procedure's name has at most {LONGEST_NAME} characters: {where(function)}"
            )
        if name.startswith(RESERVED):
            raise InvalidArgument(f"{name}: names that begin with {RESERVED} are reserved")
        if name in self._procedures:
            raise InvalidArgument(f"{name} is declared already: {where(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidArgument(f"{name} is a generator: a call has one result")
        if thread and inspect.iscoroutinefunction(function):
            raise InvalidArgument(f"{name} is a coroutine: it cannot run in a thread")
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
