"""The policy as a file: what is written is read, and what is wrong with it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.policy import Choice, Policy, Row, read_policy, same_model, write_policy
from orchestrator.errors import BadInput

BEST = {"name": "best_of_n", "n": 4}
BEAM = {"name": "beam_search", "n": 16, "width": 4, "max_rounds": 40}
NAN = float("nan")
POLICY = Policy(
    experiment="lab",
    rule="weighted",
    generator="models/s",
    verifier="models/prm",
    aggregation="last",
    samples=4,
    thresholds=(0.8, 0.5),
    estimate_flops=1e6,
    rows=(
        Row(1e7, (Choice(BEST, 0.9, 9e6, 20), Choice(BEST, 0.5, 9e6, 20), Choice(BEST, 0.1, 9e6, 20))),
        Row(4e7, (Choice(BEST, 0.9, 9e6, 20), Choice(BEAM, 0.7, 3e7, 20), Choice(BEST, NAN, 9e6, 0))),
    ),
)


def test_what_is_written_is_read(tmp_path):
    write_policy(POLICY, tmp_path / "policy.yaml")
    again = read_policy(tmp_path / "policy.yaml")
    assert repr(again) == repr(POLICY)  # repr: NaN equals nothing
    assert again.strategies == [BEST, BEAM]
    told = replace(POLICY, estimate_accuracy=(0.9, 0.4, 0.0))
    write_policy(told, tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "policy.yaml").estimate_accuracy == (0.9, 0.4, 0.0)


def test_an_older_policy_does_not_say_what_its_estimate_answers_and_one_that_says_it_for_some_bins_is_refused(
    tmp_path,
):
    path = tmp_path / "policy.yaml"
    write_policy(POLICY, path)
    text = path.read_text()
    assert "estimate_accuracy: []\n" in text
    path.write_text(text.replace("estimate_accuracy: []\n", ""))
    assert read_policy(path).estimate_accuracy == ()
    path.write_text(text.replace("estimate_accuracy: []", "estimate_accuracy: [0.5]"))
    with pytest.raises(BadInput, match="each of the 3 bins"):
        read_policy(path)


def test_a_policy_is_a_line_for_each_bin_and_budget(tmp_path):
    write_policy(POLICY, tmp_path / "policy.yaml")
    text = (tmp_path / "policy.yaml").read_text()
    assert "version: 1\n" in text
    assert "thresholds: [0.8, 0.5]\n" in text
    lines = [line for line in text.splitlines() if "bin: " in line]
    assert len(lines) == 6
    assert "bin: 2" in lines[4]
    assert "beam_search" in lines[4]


@given(st.floats(0, 1), st.floats(0, 1e8), st.floats(0, 1e7))
def test_a_problem_gets_the_choice_of_its_bin_at_the_largest_budget_that_it_can_still_pay(
    score, flops, estimate
):
    number = POLICY.bin_of(score)
    assert number == (1 if score >= 0.8 else 2 if score >= 0.5 else 3)
    large = POLICY.rows[1].bins[number - 1]
    counts = estimate if large.strategy == BEST else 0.0  # its samples are the first of best-of-N's
    row = POLICY.rows[1 if 1.1 * (flops + counts) >= 4e7 else 0]
    assert POLICY.choice(score, flops, estimate) is row.bins[number - 1]


def broken(change):
    def edit(path):
        raw = yaml.safe_load(path.read_text())
        change(raw)
        path.write_text(yaml.safe_dump(raw))

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda path: path.unlink(), "a policy that ttc fit wrote"),
        (lambda path: path.write_text("a: [1,"), "not YAML"),
        (lambda path: path.write_text("- 1\n"), "its version is None; allowed: 1"),
        (broken(lambda raw: raw.update(version=2)), "its version is 2; allowed: 1"),
        (broken(lambda raw: raw.pop("samples")), "KeyError 'samples'"),
        (broken(lambda raw: raw.update(samples=0)), "a sample"),
        (broken(lambda raw: raw.update(thresholds=[0.5, 0.8])), "from high to low"),
        (broken(lambda raw: raw["budgets"][0]["bins"].pop()), "needs bins 1 to 3"),
        (broken(lambda raw: raw.update(budgets=[])), "a budget at least"),
    ],
)
def test_a_file_that_is_no_policy_is_one_readable_line(tmp_path, edit, said):
    path = tmp_path / "policy.yaml"
    write_policy(POLICY, path)
    edit(path)
    with pytest.raises(BadInput, match=said) as caught:
        read_policy(path)
    assert caught.value.key == "strategy.policy"
    assert "\n" not in str(caught.value)


def test_a_budget_that_is_not_in_order_is_put_in_order(tmp_path):
    write_policy(replace(POLICY, rows=POLICY.rows[::-1]), tmp_path / "policy.yaml")
    assert [row.budget for row in read_policy(tmp_path / "policy.yaml").rows] == [1e7, 4e7]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/lab/prm", "/b/lab/prm", True),
        ("/a/lab/prm", "/b/lab/prm-weak", False),
        ("owner/prm", "owner/prm", True),
        ("owner/prm", "another/prm", False),
        ("prm", None, False),
        (None, None, True),
    ],
)
def test_a_model_is_known_on_another_machine(one, other, same):
    assert same_model(one, other) is same
