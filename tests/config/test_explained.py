"""What a configuration's error says helps the one who has made it."""

from __future__ import annotations

import pytest

from orchestrator.config.loading import load
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as failed:
        load(LAB_CONFIG, overrides)
    return str(failed.value)


@pytest.mark.parametrize("key", ["verifier.choices", "judge.choices"])
def test_a_word_that_yaml_reads_as_true_or_false_is_told_to_need_quotes(key):
    assert 'only in "quotes"' in refused(f"{key}={{No: 0, Yes: 1}}")
    assert load(LAB_CONFIG, [f'{key}={{"No": 0, "Yes": 1}}'])


def test_a_variable_that_is_not_set_is_named_also_where_its_value_is_a_secret(monkeypatch):
    monkeypatch.delenv("TTC_NOT_SET", raising=False)
    for key in ("generator.engine.hf_token", "name"):
        said = refused(f"{key}=${{oc.env:TTC_NOT_SET}}")
        assert key in said
        assert "TTC_NOT_SET" in said
