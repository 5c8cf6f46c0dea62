"""Tests of one group share a process, and so their servers."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("groups")
def test_xdist_knows_the_group_of_a_test(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("needs pytest --numprocesses N --dist loadgroup, as make test runs it")
    assert request.node.nodeid.endswith("@groups")
