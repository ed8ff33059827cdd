"""The check of a machine with GPUs, on one without: its plan, its verdicts, its page, and one step that
really runs, on replicas without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.benchmarks import gpu_check
from orchestrator.benchmarks.gpu_check import STEPS, Bench, Outcome, descendants, main, page, planned
from orchestrator.config.loading import load
from tests.support.paths import LAB_CONFIG, ROOT

BY_NAME = {step.name: step for step in STEPS}


def test_what_needs_more_gpus_than_there_are_is_skipped_with_the_reason():
    assert {step.name: why for step, why in planned(1) if why} == {
        "tensor-parallel": "it needs 2 GPU, and this machine has 1"
    }
    assert not any(why for _, why in planned(2))
    assert [step.name for step, why in planned(0) if why is None] == ["check"]
    assert [(step.name, why) for step, why in planned(0, ["kill"])] == [("kill", None)]


def test_every_step_asks_for_a_run_that_the_configuration_takes(tmp_path):
    bench = Bench(["ttc"], gpu_check.write_base(tmp_path, "owner/model", 4), tmp_path, "owner/model")
    for step in STEPS:
        _, _, _, base, *overrides = bench.command(step)
        config = load(base, overrides)
        assert config.generator.model == "owner/model"
        assert (config.verifier.model == "owner/model") == ("judge" in step.about or "scores" in step.about)
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 4


SCRIPT = """import json, sys
print("  generator-0 up after 3 s (load 2); bfloat16", file=sys.stderr)
print("generator-0 is back after 9 s" if {back} else "nothing happened", file=sys.stderr)
again = any("-again" in word for word in sys.argv)
print(json.dumps({{"tokens_per_second": 1234.5, "failed": 0, "answered": {answered}, "problems": 4,
                  "solutions_sha256": str(again and {differs})}}))
sys.exit({status})
"""


def outcome(tmp_path, monkeypatch, name, *, status=0, answered=4, back=False, differs=False) -> Outcome:
    monkeypatch.setattr(gpu_check, "kill_a_replica", lambda pid: None)
    script = tmp_path / "ttc.py"
    script.write_text(SCRIPT.format(status=status, answered=answered, back=back, differs=differs))
    return Bench([sys.executable, str(script)], LAB_CONFIG, tmp_path, "m", 60).run(BY_NAME[name])


@pytest.mark.parametrize(
    ("name", "found", "state", "words"),
    [
        ("one-gpu", {}, "passed", "1,234 generated tokens/s; "),
        ("one-gpu", {"status": 1}, "failed", "exit status 1"),
        ("one-gpu", {"answered": 0}, "failed", "0 of 4 problems answered"),
        ("kill", {"back": True}, "passed", "generator-0 up after 3 s (load 2); bfloat16"),
        ("kill", {}, "failed", "nothing came back"),
        ("repeated", {}, "passed", "the solutions are the same"),
        ("repeated", {"differs": True}, "passed", "the solutions are NOT the same"),
        ("batch-invariant", {"differs": True}, "failed", "the solutions are NOT the same"),
    ],
)
def test_what_is_said_of_a_step(tmp_path, monkeypatch, name, found, state, words):
    said = outcome(tmp_path, monkeypatch, name, **found)
    assert said.state == state
    assert words in said.told
    assert bool(said.lines) == (state == "failed")


def test_the_replica_that_is_killed_is_one_of_the_runs_own():
    assert descendants(1, {2: 1, 3: 2, 4: 3, 5: 9, 9: 0}) == {2, 3, 4}


def test_the_page_has_the_machine_a_line_a_step_and_the_last_lines_of_what_failed():
    kill = Outcome(BY_NAME["kill"], "failed", "exit status 1", ("RuntimeError: x",))
    assert page(["vllm 0.32.0"], [Outcome(BY_NAME["one-gpu"], "skipped", "no GPU"), kill]) == (
        "# ttc on GPUs\n\n- vllm 0.32.0\n\n| step | | what |\n|---|---|---|\n"
        "| one-gpu: one engine on one GPU, majority of 8 | skipped | no GPU |\n"
        "| kill: a replica is killed with SIGKILL as it works: another takes its place | failed | "
        "exit status 1 |\n"
        "\n## kill\n\n```\nRuntimeError: x\n```\n"
    )


def test_the_list_says_what_each_step_runs(tmp_path, capsys):
    assert main(["--list", "--out", str(tmp_path)], gpus=lambda: 1) == 0
    told = capsys.readouterr().out
    assert "generator.resources.num_gpus=0.5 verifier.resources.num_gpus=0.5" in told
    assert "skipped: it needs 2 GPU" in told
    assert not (tmp_path / "gpu-check.md").exists()


def test_the_script_is_bash_that_installs_what_a_gpu_node_has_and_starts_the_check():
    script = ROOT / "cluster" / "gpu-check.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "-c cluster/constraints-gpu.txt -e '.[gpu]'" in text
    assert "exec .venv/bin/python -m orchestrator.benchmarks.gpu_check" in text


def test_a_step_really_runs_and_the_page_says_so(tmp_path: Path):
    lab = tmp_path / "lab.yaml"
    lab.write_text(f"base: {LAB_CONFIG}\nproblems: {{limit: 2}}\n")
    assert main(["--only", "check", "--base", str(lab), "--out", str(tmp_path)], gpus=lambda: 0) == 0
    told = (tmp_path / "gpu-check.md").read_text()
    assert re.search(r"\n\| check: .* \| passed \| nothing would fail; vLLM 0\.\d+\.\d+ \|\n", told)
