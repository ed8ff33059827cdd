"""The sweeps that the report's tests read: each is searched, gathered and drawn once a session."""

from __future__ import annotations

import pytest

from orchestrator.analysis.store import Experiment
from orchestrator.report.evidence import Evidence, gather
from orchestrator.report.figures import Picture, pictures
from orchestrator.report.page import Drawn, as_svg
from tests.support.swept import sweep

PROBLEMS = 80
"""Of the whole sweep: enough for an interval of problems that all agree to be narrower than ``SAME``."""


@pytest.fixture(scope="session")
def swept(tmp_path_factory) -> Experiment:
    """Every strategy at two sizes, in two seeds."""
    return sweep(tmp_path_factory.mktemp("swept") / "whole", problems=PROBLEMS, sizes=(4, 16))


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Experiment:
    """Every strategy at one size, in one seed, on 20 problems."""
    return sweep(tmp_path_factory.mktemp("swept") / "small", problems=20, seeds=1, sizes=(4,))


@pytest.fixture(scope="session")
def evidence(swept) -> Evidence:
    return gather(swept)


@pytest.fixture(scope="session")
def drawn(evidence) -> dict[str, Picture]:
    """The figures of the whole sweep by name."""
    found, absent = pictures(evidence, 2.0)
    assert absent == []
    return {picture.name: picture for picture in found}


@pytest.fixture(scope="session")
def rendered(drawn) -> list[Drawn]:
    """The figures of the whole sweep as its page shows them."""
    return [as_svg(picture) for picture in drawn.values()]
