"""Each server rule of RFC 6455, tested once with whole and once with randomly cut input.

``make conformance`` writes the table of the results to the docs. CONFORMANCE_SEED repeats the cuts
of an earlier run.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random, SystemRandom

import pytest

from tests.helpers import patient
from tests.helpers.processes import UNMEASURED, Process
from tests.helpers.support import free_port, shared_server

from .areas import AREAS
from .case import KEY, Case
from .client import Peer, Silence
from .hostile import SILENT
from .table import RESULTS, SILENCE

SEED = int(os.environ.get("CONFORMANCE_SEED") or SystemRandom().randrange(10**9))

pytestmark = pytest.mark.xdist_group("conformance")  # one process has the gateways

CASES = [case for cases in AREAS.values() for case in cases]


@contextmanager
def gateway(*options: str) -> Iterator[int]:
    """Start a gateway as users run it; return its port."""
    port = free_port()
    endpoint = f"tcp:{port}:interface=127.0.0.1"
    program = Process(
        sys.executable, "-m", "tests.helpers.patient", "--nodaemon", "--pidfile=", "opentera-bus",
        "--redis", shared_server().url, "--websocket", endpoint, "--admin", "none", *options,
        environment=UNMEASURED, fork=True,
    )  # fmt: skip
    try:
        program.wait_for("is ready")
        yield port
    finally:
        program.terminate()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """Return a client of a gateway."""
    # The peer pings after each piece, to know that it was read.
    options = (*patient.OPTIONS, "--max-messages-per-minute", "0")
    with gateway(*options) as port, shared_server().client() as client:
        peer = Peer(port, client)
        yield peer
        peer.close()


@pytest.fixture(scope="module", autouse=True)
def silences() -> Iterator[dict[str, Silence]]:
    """Open silent connections first, so that their timeouts run meanwhile."""
    with gateway() as port:
        begun = {
            words: Silence(port, said.replace(KEY, b"x" * 64)) for words, said in SILENT.items()
        }
        yield begun
        for silence in begun.values():
            silence.close()


def test_rule_names_are_unique() -> None:
    names = Counter(case.rule for case in CASES)
    assert not [name for name, count in names.items() if count > 1]
    assert len(CASES) >= 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_rule(peer: Peer, case: Case) -> None:
    for way, random in (("whole", None), ("in pieces", Random(f"{SEED} {case.rule}"))):
        RESULTS[case.rule, way] = False
        assert peer.attempt(case, random) == case.answers, f"{way}, CONFORMANCE_SEED={SEED}"
        RESULTS[case.rule, way] = True


@pytest.mark.parametrize("words", SILENT)
def test_silence(silences: dict[str, Silence], words: str) -> None:
    SILENCE[words] = False
    assert silences[words].heard() == b""
    SILENCE[words] = True
