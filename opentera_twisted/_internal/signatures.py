"""Signatures of functions whose type hints may name what does not exist at run time."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature(function: Callable[..., Any], *, as_text: bool = False) -> inspect.Signature:
    """Read the signature of a function.

    Python 3.14 evaluates type hints only here, and names that are imported for type checkers alone
    do not exist. They become a ``typing.ForwardRef``, or text with ``as_text``.

    Raises:
        TypeError, ValueError: the function has no readable signature.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415

        form = Format.STRING if as_text else Format.FORWARDREF
        return inspect.signature(function, annotation_format=form)
    return inspect.signature(function)
