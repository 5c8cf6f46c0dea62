"""Growth exponents of costs by size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import linear_regression


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent of growth: 0 for constant, 1 for proportional costs.

    Args:
        sizes: At least two different sizes above 0.
        costs: Costs by size, above 0.

    Returns:
        The slope of the straight line through their logarithms, by least squares.
    """
    return linear_regression(list(map(math.log, sizes)), list(map(math.log, costs))).slope


def steepest(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the highest exponent between neighbouring sizes.

    Args:
        sizes: At least two sizes, ascending.
        costs: Costs by size, above 0.
    """
    steps = pairwise(zip(sizes, costs, strict=True))
    return max(exponent(*zip(*step, strict=True)) for step in steps)
