"""Cyclic garbage, looked for less often in a program that holds much and keeps it long.

Each login makes more than fifty objects that stay as long as the client does. With Python's
defaults the collector looks through them, and through all that the program's start has made, again
and again: a third of the processor time of thousands of logins, in pauses of more than a tenth of a
second.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (5_000, 3, 15)
"""How many more objects, and then how many collections of the younger ones, make one due."""


def collect_seldom() -> None:
    """Look no more at what there is now, and seldom at what comes; call it after the start.

    What is no cycle is freed at once all the same.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
