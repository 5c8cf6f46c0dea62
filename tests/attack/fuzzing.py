"""Steps of a fuzzer, each from a seed of its own, so that a run or a step can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from .arena import Arena


class AttackSucceeded(AssertionError):
    """Something that must hold did not."""


class Fuzzer(Protocol):
    """Does one hostile thing at a time."""

    name: str

    def attack(self, random: Random, sent: list[str]) -> None:
        """Do one hostile thing, and note beforehand what is sent."""

    def calm(self) -> None:
        """Take back what would go on to do harm."""


def fuzz(
    arena: Arena,
    fuzzer: Fuzzer,
    seed: int,
    steps: range,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """Attack, with events for the witness before and after each step.

    Args:
        arena: where.
        fuzzer: with what.
        seed: of the whole run.
        steps: numbers of the steps.
        progress: called with a line now and then.

    Returns:
        What was found in the end.

    Raises:
        AttackSucceeded: with the seed, the step, and what was sent.
    """
    sent: list[str] = []
    for step in steps:
        arena.publish()
        before, sent = sent, []
        random = Random(f"{seed} {fuzzer.name} {step}")
        arena.identities.random = Random(f"{seed} replies {step}")
        try:
            fuzzer.attack(random, sent)
            arena.witnessed()
            assert not arena.program.has_ended, "the gateway has ended"
        except AssertionError as error:
            raise _failure(fuzzer, seed, step, before, sent, error) from error
        if step % 100 == 99:
            progress(f"{fuzzer.name}: {step + 1} of {steps.stop} steps")
    fuzzer.calm()
    arena.identities.random = None
    try:
        found = arena.check()
    except AssertionError as error:
        raise _failure(fuzzer, seed, steps.stop, [], sent, error) from error
    return f"{fuzzer.name}: seed {seed}, {len(steps)} steps, {found}"


def _failure(
    fuzzer: Fuzzer, seed: int, step: int, before: list[str], sent: list[str], error: AssertionError
) -> AttackSucceeded:
    parts = "\n".join(f"  {message}" for message in sent)
    earlier = "\n".join(f"  {message}" for message in before)
    return AttackSucceeded(
        f"{error}\n{fuzzer.name}, step {step}: repeat with make attack SEED={seed}\n"
        f"sent in this step:\n{parts}\nsent in the step before:\n{earlier}"
    )
