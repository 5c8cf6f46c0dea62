"""A short attack with a fixed seed; ``make attack`` uses random seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .arena import Arena
from .clients import Clients
from .fuzzing import Fuzzer, fuzz
from .neighbours import Neighbours

SEED = 1
"""A fixed seed, so that only a change of the program can fail the test."""


@pytest.fixture(name="arena")
def an_arena() -> Iterator[Arena]:
    with Arena() as arena:
        yield arena


@pytest.mark.parametrize("fuzzer", [Clients, Neighbours])
def test_fuzzed_input_costs_an_honest_client_nothing(
    fuzzer: type[Clients | Neighbours], arena: Arena
) -> None:
    hostile: Fuzzer = fuzzer(arena)
    print(fuzz(arena, hostile, SEED, range(150)))  # noqa: T201
