"""How costs grow with sizes: by which power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import linear_regression


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """By which power of the size the cost grows: 0 when it does not, 1 when in proportion.

    Args:
        sizes: two different ones at least, above 0.
        costs: of each, above 0.

    Returns:
        The slope of the straight line through their logarithms, by least squares.
    """
    return linear_regression(list(map(math.log, sizes)), list(map(math.log, costs))).slope


def steepest(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The highest exponent between two neighbouring sizes: what the one of all may hide.

    Args:
        sizes: two at least, each larger than the one before.
        costs: of each, above 0.
    """
    steps = pairwise(zip(sizes, costs, strict=True))
    return max(exponent(*zip(*step, strict=True)) for step in steps)
