"""What the README points to: the example configurations pass every check, its code is the tested one."""

from __future__ import annotations

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.strategies.registry import REGISTRY
from tests.support.paths import CONFIGS, OWN_STRATEGY, ROOT

EXAMPLES = sorted((CONFIGS / "strategies").glob("*.yaml"))
TEMPLATES = {"budget_forcing"}
"""For a model from the hub and problems of one's own: loaded, and no more."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_every_check(path, tmp_path):
    config = load(path, [f"runs={tmp_path}"])
    assert config.name.replace("-", "_") == path.stem
    if path.stem not in TEMPLATES:
        prepared = prepare(config)
        assert len(prepared.problems) == 64
        assert (prepared.verifier is None) == (path.stem == "self_consistency")
        assert (prepared.reviser is None) == (path.stem != "revisions")


def test_every_strategy_has_an_example():
    names = {load(path).strategy["name"] for path in EXAMPLES}
    assert names == set(REGISTRY) - {"compute_optimal"}, "that one runs a policy fitted to a sweep"


def test_the_readmes_own_strategy_is_the_file_that_is_tested():
    code = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert code == OWN_STRATEGY.read_text()
