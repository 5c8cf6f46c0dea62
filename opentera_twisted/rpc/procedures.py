"""What a server offers: procedures declared by the signatures of functions.

    procedures = Procedures(version="1.2", doc="Adds numbers.")

    @procedures.expose
    async def add(a: int, b: int = 0) -> int:
        "Adds."
        return a + b

A declaration that cannot work is an error when it is made. Arguments are checked before a function
runs: it gets what its signature says.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar, overload

from attrs import frozen

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.rpc.description import (
    NO_DEFAULT,
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.values import TYPES, ArgumentValue

Function = TypeVar("Function", bound=Callable[..., Any])

RESERVED: Final = "opentera."
"""How names begin that every server answers by itself."""


class ArgumentsMismatch(Exception):
    """The arguments of a request do not fit the procedure; the message says which."""


@frozen
class Parameter:
    """One argument of a procedure.

    Attributes:
        name: as in the signature.
        types: which of the five types of arguments are accepted.
        default: `NO_DEFAULT` when it has to be given.
    """

    name: str
    types: tuple[type, ...]
    default: Any = NO_DEFAULT

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is NO_DEFAULT

    def accepts(self, value: ArgumentValue | None) -> bool:
        """Whether the value is of one of the types; an int also serves as a float."""
        kind = type(value)
        return kind in self.types or (kind is int and float in self.types)

    def __str__(self) -> str:
        return " | ".join(kind.__name__ for kind in self.types)


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

        Args:
            target: whose methods these are; names that begin with an underscore stay private.
            version: of the service.
            doc: what the service is for; the object's own documentation when None.

        Raises:
            InvalidArgument: a method cannot be called from elsewhere, or there is none.
        """
        procedures = cls(version, inspect.getdoc(target) or "" if doc is None else doc)
        for name, member in inspect.getmembers(target, inspect.isroutine):
            if not name.startswith("_"):
                procedures.expose(member)
        if not procedures._procedures:
            raise InvalidArgument(f"{target!r} has no public methods")
        return procedures

    def get(self, name: str) -> Procedure | None:
        """The procedure of that name, or None."""
        return self._procedures.get(name)

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
        name = function.__name__ if name is None else name
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"a procedure's name is a string, not {name!r}")
        if name.startswith(RESERVED):
            raise InvalidArgument(f"{name}: names that begin with {RESERVED} are reserved")
        if name in self._procedures:
            raise InvalidArgument(f"{name} is declared already: {_where(function)}")
        if thread and inspect.iscoroutinefunction(function):
            raise InvalidArgument(f"{name} is a coroutine: it cannot run in a thread")
        if timeout is not None and not timeout > 0:
            raise InvalidArgument(f"{name}: a timeout is a number of seconds above 0")
        parameters, rest = _parameters(name, function)
        self._procedures[name] = Procedure(
            name,
            inspect.getdoc(function) or "",
            function,
            parameters,
            rest,
            thread,
            timeout,
            _returns(function),
        )
        return function


def _parameters(
    name: str, function: Callable[..., Any]
) -> tuple[tuple[Parameter, ...], Parameter | None]:
    """The arguments of a function by position, and what further ones must be."""
    where = f"{name} ({_where(function)})"
    parameters = inspect.signature(function).parameters.values()
    hints = _hints(function, parameters, where)
    positional: list[Parameter] = []
    rest = None
    for parameter in parameters:
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_KEYWORD:
            continue  # callers have no keyword arguments: it stays empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                raise InvalidArgument(
                    f"{where}: {parameter.name} can only be given by keyword, and callers give "
                    "arguments by position: give it a default"
                )
            continue
        kinds = _types(hints.get(parameter.name, parameter.empty), parameter, where)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = Parameter(parameter.name, kinds)
        else:
            positional.append(Parameter(parameter.name, kinds, _default(parameter, kinds, where)))
    return tuple(positional), rest


def _hints(
    function: Callable[..., Any], parameters: Iterable[inspect.Parameter], where: str
) -> dict[str, Any]:
    """The hints of the arguments; that of the result is for readers and need not be found."""
    annotations = {
        parameter.name: parameter.annotation
        for parameter in parameters
        if parameter.annotation is not parameter.empty
    }
    while isinstance(function, functools.partial):
        function = function.func
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=annotations), names)
    except (NameError, TypeError, SyntaxError) as error:
        raise InvalidArgument(f"{where}: cannot read its type hints: {error}") from None


def _types(hint: Any, parameter: inspect.Parameter, where: str) -> tuple[type, ...]:
    """The types that a hint allows."""
    if hint is parameter.empty or hint is Any:
        return TYPES
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    kinds = tuple(option for option in options if option is not type(None))
    unknown = [option for option in kinds if option not in TYPES]
    if unknown or not kinds:
        raise InvalidArgument(
            f"{where}: {parameter.name} is hinted {hint}; arguments can be bool, int, float, "
            "str, bytes, or a union of these"
        )
    if type(None) in options and parameter.default is not None:
        raise InvalidArgument(
            f"{where}: {parameter.name} may be None, which no caller can send: "
            "make None its default"
        )
    return kinds


def _default(parameter: inspect.Parameter, kinds: tuple[type, ...], where: str) -> Any:
    """A default, which has to be of a type that callers could send."""
    default = parameter.default
    if default is parameter.empty:
        return NO_DEFAULT
    if default is None or type(default) in kinds or (type(default) is int and float in kinds):
        return default
    raise InvalidArgument(
        f"{where}: the default of {parameter.name} is a {type(default).__name__}, not "
        f"{' | '.join(kind.__name__ for kind in kinds)}"
    )


def _returns(function: Callable[..., Any]) -> str:
    """The hint of a result as text."""
    hint = inspect.signature(function).return_annotation
    if hint is inspect.Signature.empty:
        return ""
    return hint if isinstance(hint, str) else inspect.formatannotation(hint)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def _where(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
