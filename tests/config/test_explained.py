"""What a configuration's error says helps the one who has made it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from orchestrator.config.kinds import kind_at, section_of
from orchestrator.config.loading import load
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG

OMEGACONFS = re.compile(r"Merge|Optional|subclass|could not be converted|Cannot|Incompatible|Invalid")
"""Words of OmegaConf's own errors, which say what Python has found and not what a user may write."""


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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cluster=5", "cluster: 5 is not usable; allowed: a section with keys such as cluster.address"),
        ("generator.resources=4", "allowed: a section with keys such as generator.resources.num_cpus"),
        ("tracking=null", "tracking: null is not usable; allowed: a section with keys such as tracking.uri"),
        ("strategy=[1]", "strategy: [1] is not usable; allowed: the name of one, or a section with its name"),
        ("strategy=5", "strategy: 5 is not usable; allowed: the name of one, or a section with its name"),
        ("generator.stop={a: 1}", "generator.stop: {'a': 1} is not usable; allowed: a list"),
        ("generator.engine=7", "generator.engine: 7 is not usable; allowed: a mapping of keys to values"),
        ("budget.flops=abc", "budget.flops: 'abc' is not usable; allowed: a number or null"),
        ("seed=", "seed: null is not usable; allowed: a whole number"),
        ("generator.chat=maybe", "generator.chat: 'maybe' is not usable; allowed: true or false"),
        ("reviser.model=[1]", "reviser.model: [1] is not usable; allowed: a text or null"),
        ("strategy=", "strategy: null is not usable; allowed: the name of one, or a section with its name"),
        ("strategy=${oc.env:TTC_NOT_SET}", "Environment variable 'TTC_NOT_SET' not found"),
        ("verifier.choices={a: [1]}", "verifier.choices.a: [1] is not usable; allowed: a number"),
        ("judge.choices={a: {b: 1}}", "judge.choices.a: {'b': 1} is not usable; allowed: a number"),
        (
            "generator.resources.custom={a: [1]}",
            "generator.resources.custom.a: [1] is not usable; allowed: a num",
        ),
        (
            "generator.resources.custom.a=x",
            "generator.resources.custom.a: 'x' is not usable; allowed: a number",
        ),
        ("generator.stop=[[1]]", "generator.stop[0]: [1] is not usable; allowed: a text"),
        ("generator.stop=[null]", "generator.stop[0]: null is not usable; allowed: a text"),
        ("generator={foo: 1, engine: 5}", "generator.foo: unknown key; "),
        ("unresolved=5", "unresolved: unknown key; "),
        ("temperature=1", "temperature: unknown key; did you mean generator.temperature? allowed: name, "),
        ("dtype=half", "did you mean generator.dtype or verifier.dtype or reviser.dtype or judge.dtype? "),
        ('generator={endpoint: "http://x", replicas: many}', "generator.replicas: 'many' is not usable"),
        ('generator={endpoint: "http://x", stop: {a: 1}}', "generator.stop: {'a': 1} is not usable"),
        ('judge={endpoint: "http://x", choices: {No: 0}}', 'only in "quotes"'),
        (
            "generator.endpoint=http://${oc.env:TTC_NOT_SET}/v1",
            "Environment variable 'TTC_NOT_SET' not found",
        ),
    ],
)
def test_what_a_key_cannot_hold_is_told_with_its_key_and_what_it_can(override, said, monkeypatch):
    monkeypatch.delenv("TTC_NOT_SET", raising=False)
    assert said in refused(override)


def keys_of(section: type, prefix: str = "") -> Iterator[str]:
    for field in fields(section):
        if field.metadata:  # it is no key
            continue
        yield f"{prefix}{field.name}"
        if (inner := section_of(kind_at(f"{prefix}{field.name}"))) is not None:
            yield from keys_of(inner, f"{prefix}{field.name}.")


@pytest.mark.parametrize("value", ["5", "abc", "null", "[1]", "{a: 1}"])
def test_whatever_a_key_is_given_is_taken_or_refused_by_its_own_name(value):
    said = {}
    for key in keys_of(Config):
        try:
            load(LAB_CONFIG, [f"{key}={value}"])
        except BadInput as error:
            said[key] = str(error)
    assert [line for key, line in said.items() if not line.startswith(key.partition(".")[0])] == []
    assert [line for line in said.values() if OMEGACONFS.search(line)] == []


def test_a_strategy_may_be_given_by_its_name_alone():
    assert load(LAB_CONFIG, ["strategy=dvts", "strategy.n=8"]).strategy == {"name": "dvts", "n": 8}
