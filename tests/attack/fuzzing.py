"""Steps of a fuzzer, each with its own seed, so that a run or a step can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from .arena import Arena


class AttackSucceeded(AssertionError):
    """A check failed during an attack."""


class Fuzzer(Protocol):
    """Takes one hostile step at a time."""

    name: str

    def attack(self, random: Random, sent: list[str]) -> None:
        """Take one hostile step; record the bytes before sending them."""

    def calm(self) -> None:
        """Undo lasting damage."""


def fuzz(
    arena: Arena,
    fuzzer: Fuzzer,
    seed: int,
    steps: range,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """Attack, with events for the witness before and after each step.

    Args:
        arena: Surroundings of the attack.
        fuzzer: Source of hostile steps.
        seed: Seed of the whole run.
        steps: Numbers of the steps.
        progress: Called with a line of progress now and then.

    Returns:
        Result of the final check.

    Raises:
        AttackSucceeded: A check failed; holds the seed, the step and the sent bytes.
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
