"""A run that was begun by an earlier version goes on as it was begun, or says that it cannot."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from orchestrator.commands.resume import _stored
from orchestrator.config.loading import load
from orchestrator.config.preparation import fingerprint, prepare
from orchestrator.config.schema import to_dict
from tests.support.paths import LAB_CONFIG


def prepared(tmp_path, strategy: str):
    return prepare(
        load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=2", f"strategy={{name: {strategy}}}"])
    )


@pytest.mark.parametrize("name", ["beam_search, n: 4", "particle_filtering, n: 4", "dvts, n: 4"])
def test_a_run_from_before_copies_were_merged_goes_on_as_the_literal_algorithm(tmp_path, name):
    literal = prepared(tmp_path, f"{name}, distinct: false")
    stored = to_dict(literal.config)
    assert stored["strategy"].pop("distinct") is False
    OmegaConf.save(OmegaConf.create(stored), tmp_path / "config.yaml")
    again = prepare(_stored(tmp_path / "config.yaml", []))
    assert again.strategy.params["distinct"] is False
    assert fingerprint(again) == fingerprint(literal)
    assert fingerprint(prepared(tmp_path, name)) != fingerprint(literal)


def test_what_an_earlier_version_had_in_its_journal_of_the_literal_algorithm_is_that(tmp_path):
    from orchestrator.config.fingerprint import determining

    kept = determining(prepared(tmp_path, "beam_search, n: 4, distinct: false").config)["strategy"]
    assert kept == {"name": "beam_search", "n": 4, "width": 4, "max_rounds": 40}
    assert "distinct" not in determining(prepared(tmp_path, "best_of_n, n: 4").config)["strategy"]


@pytest.mark.parametrize("name", ["rebase", "mcts"])
def test_a_strategy_that_searches_otherwise_than_before_is_another_run(tmp_path, name):
    from orchestrator.config.fingerprint import determining

    config = prepared(tmp_path, f"{name}, n: 4, distinct: false").config
    assert determining(config)["strategy"]["version"] == 2
