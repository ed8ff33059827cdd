"""The problems of the study on a public model."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.benchmarks.public_model import TEST_SUMS, TRAINING_SUMS, write_problems


def test_no_sum_is_both_for_training_and_for_testing_and_each_answer_is_its_value(tmp_path: Path):
    write_problems(tmp_path)
    read = {
        name: [json.loads(line) for line in (tmp_path / f"sums-{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    }
    assert [len(sums) for sums in read.values()] == [TRAINING_SUMS, TEST_SUMS]
    assert len({row["problem"] for sums in read.values() for row in sums}) == TRAINING_SUMS + TEST_SUMS
    for row in (row for sums in read.values() for row in sums):
        terms = [int(term) for term in row["problem"].split(" + ")]
        assert (row["answer"], row["difficulty"]) == (str(sum(terms)), len(terms) - 1)
