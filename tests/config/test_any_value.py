"""Whatever a key is given, a configuration is read, or refused in one readable line."""

from __future__ import annotations

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG

KEYS = ["seed", "strategy.n", "generator.engine.max_num_seqs", "generator.temperature"]
VALUES = {
    "a tag that is not true": ["!!bool x", "!!int abc", "!!float x", "!!timestamp x", "!!binary '@'"],
    "digits beyond Python's limit": ["9" * 5000, "1" + "0" * 400],
    "half a character": ["\ud800", "\udcff"],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_a_value_that_yaml_cannot_build_is_told_in_one_line(tmp_path, values):
    for key in KEYS:
        for value in values:
            _taken_or_refused(LAB_CONFIG, [f"{key}={value}"])
    for value in values:
        file = tmp_path / "own.yaml"
        file.write_bytes(f"base: {LAB_CONFIG}\nseed: {value}\n".encode("utf-8", "surrogatepass"))
        _taken_or_refused(file, [])


def _taken_or_refused(path, overrides):
    try:
        load(path, overrides)
        line = ""
    except BadInput as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 1000


def test_a_text_that_reads_as_an_interpolation_once_it_is_unescaped_is_refused():
    with pytest.raises(BadInput, match=r"^generator\.system"):
        load(LAB_CONFIG, [r"generator.system=\${x}"])


def test_a_character_that_no_path_can_have_is_told_with_its_key(tmp_path):
    with pytest.raises(BadInput, match=r"^runs: .*a directory that can be written \(embedded null byte\)$"):
        prepare(load(LAB_CONFIG, ['runs="\\0"']))
    own = tmp_path / "own.yaml"
    own.write_text('base: "\\0"\n')
    with pytest.raises(BadInput, match=r"^base: .*allowed: an existing YAML file$"):
        load(own)


def test_a_number_that_no_floating_point_number_can_hold_is_refused_with_its_key():
    with pytest.raises(BadInput, match=r"^budget.flops: .*allowed: numbers up to 1e308"):
        load(LAB_CONFIG, [f"budget.flops={'9' * 400}"])
