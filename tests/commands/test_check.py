"""``ttc check``: one page that tells what a run would do, on any machine; status 2 for what would fail."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchestrator.commands.check_display import NEWLINE, cut, page
from orchestrator.commands.cli import run_command
from orchestrator.config.loading import load
from orchestrator.config.preview import preview
from orchestrator.config.rendering import MARK
from tests.formats.families import qwen_prm
from tests.support.paths import CONFIGS, LAB_CONFIG
from tests.support.public_models import save_language_model

EXAMPLES = sorted({*(CONFIGS / "strategies").glob("*.yaml"), LAB_CONFIG})
TEMPLATES = {"budget_forcing"}
"""For a model from the hub and problems of one's own."""


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    """No command here may start Ray or join one."""
    monkeypatch.setattr("orchestrator.runs.session.connect", lambda *_: pytest.fail("Ray was started"))
    monkeypatch.setattr("orchestrator.config.capacity.free_memory", lambda: None)  # it may be low here


@pytest.fixture
def mine(tmp_path):
    """A run of a user's own: a chat model, a verifier of text, problems of which one has no usable answer."""
    save_language_model(tmp_path / "generator", "qwen3")
    qwen_prm(tmp_path / "prm")
    problems = [
        {"problem": "How many is 48 + 24?", "answer": "72", "level": 1},
        {"problem": "What is half of [one]? " * 20, "answer": r"\frac{1}{2}", "level": 2},
        {"problem": "And then?", "answer": r"\frac{1}{", "level": 2},
    ]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, problems)))
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"""
name: mine
runs: {tmp_path}/runs
problems:
  {{source: file, path: {tmp_path}/problems.jsonl, answers: math, template: '{{problem}} Use \\boxed{{}}.'}}
generator: {{model: {tmp_path}/generator, chat: true, max_tokens: 300, temperature: 0.7}}
verifier: {{model: {tmp_path}/prm}}
strategy: {{name: best_of_n, n: 4}}
budget: {{generations: 5}}
"""
    )
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_pass(path, tmp_path):
    if path.stem in TEMPLATES:
        pytest.skip("it names a model of the hub")
    facts = preview(load(path, [f"runs={tmp_path}"]))
    assert facts.failures == ()
    assert facts.doubts == (), "an example is no place for what is often a mistake"
    assert facts.problems.count == 64
    assert facts.problems.wrong == ()
    assert facts.prompt.endswith("=")
    assert (facts.verifier is None) == path.stem.endswith("self_consistency")
    if facts.verifier is not None:
        assert [text.count(MARK) for text in facts.verifier.inputs] == [2]


def test_the_default_is_one_page(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["check", str(LAB_CONFIG), f"runs={tmp_path}"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) <= 60
    assert max(map(cell_len, lines)) <= 80
    assert "nothing would fail" in lines[-1]
    for word in ("beam_search n=32 width=4", "216 k parameters", "takes 64 of the 64", "100 GFLOPs"):
        assert word in out
    assert "beside it, no search: 16 samples a problem, 25.6 GFLOPs at most" in out


@pytest.mark.parametrize("width", [80, 40])
def test_a_users_own_run_is_told_within_the_terminal(mine, width):
    facts = preview(load(mine))
    console = Console(width=width, file=StringIO())
    console.print(page(facts, width))
    lines = console.file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= 60 or width < 80
    text = " ".join(" ".join(lines).split())
    for word in ("Qwen3ForCausalLM", "temperature 0.7", "<|im_start|>user↵", f"<extra_0>{MARK}", "level (2)"):
        assert word in text.replace("<extra_0> ", "<extra_0>")


def test_an_answer_that_can_never_be_right_fails(mine, capsys):
    assert run_command(["check", str(mine)]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 3 problems can never be answered right" in out
    assert r"problems-00002 '\\frac{1}{'" in out
    assert out.endswith("1 thing would fail")
    assert run_command(["check", str(mine), "problems.limit=2"]) == 0


def test_weights_that_are_not_there_fail(mine, capsys):
    (weights,) = (mine.parent / "generator").glob("*.safetensors")
    weights.unlink()
    assert run_command(["check", str(mine), "problems.limit=2", "--json"]) == 2
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert failure.startswith("generator.model: ")
    assert "no file that ends in .safetensors" in failure


def test_a_shard_that_is_not_there_fails(mine, capsys):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (mine.parent / "prm" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert run_command(["check", str(mine), "problems.limit=2", "--json"]) == 2
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert "1 of the 2 files in model.safetensors.index.json" in failure
    assert "model-2.safetensors" in failure


def test_json_has_the_facts(mine, capsys):
    assert run_command(["check", str(mine), "problems.limit=2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(preview(load(mine, ["problems.limit=2"])).to_dict()))
    generator, verifier = told["models"]
    assert generator["weight_bytes"] == 2 * generator["parameters"] > 0
    assert (generator["role"], verifier["role"]) == ("generator", "verifier")
    assert told["sampling"] == {"temperature": 0.7}
    assert told["verifier"]["format"] == "qwen-prm"
    assert not told["verifier"]["given"]
    least, middle, most = told["problems"]["prompt_tokens"]
    assert least <= middle < most
    assert told["problems"]["longest_tokens"] == most + 300
    cost = told["cost"]
    whole = cost["prompt_flops"] + 4 * (cost["generator_flops"] + cost["verifier_flops"])
    assert cost["worst"] > whole, "a verifier of text is granted more than it takes"


def test_independent_faults_are_told_together(mine, capsys):
    overrides = ["strategy.n=0", "verifier.model=/nowhere", "problems.path=/none"]
    assert run_command(["check", str(mine), *overrides]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "strategy.n",
        "verifier.model",
        "problems.path",
    ]
    assert run_command(["check", str(mine), "generator.model=/nowhere", "--json"]) == 2
    out, err = capsys.readouterr()
    assert [f"ttc: {line}" for line in json.loads(out)["failures"]] == err.splitlines()
    assert run_command(["check", str(mine), "generator.max_tokens=5000"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_this_machine_lacks_is_no_fault_of_the_run(mine, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    two = ["problems.limit=2", "generator.resources.num_gpus=1", "generator.replicas=2"]
    facts = preview(load(mine, two))
    assert facts.failures == ()
    assert facts.machine.lacks == ("the run asks for 2 of the GPUs of this machine, which has 1",)
    assert preview(load(mine, [*two, "cluster.address=auto"])).machine.lacks == ()
    monkeypatch.setattr("orchestrator.config.machine.vllm_version", lambda: None)
    (lack,) = preview(load(mine, ["problems.limit=2"])).machine.lacks
    assert "vLLM" in lack
    monkeypatch.setattr("orchestrator.config.machine.vllm_version", lambda: "0.1.0")
    (lack,) = preview(load(mine, ["problems.limit=2"])).machine.lacks
    assert "0.1.0" in lack


def test_neither_ray_nor_vllm_is_imported(tmp_path):
    code = (
        "import sys; from orchestrator.commands.cli import run_command; "
        f"status = run_command(['check', {str(LAB_CONFIG)!r}, 'runs={tmp_path}', '--json']); "
        "sys.exit(status or 10 * ('ray' in sys.modules or 'vllm' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


TEXTS = st.lists(
    st.sampled_from(["<|a|>", MARK, "word", " ", "\n", "漢字", "x" * 30, "é", "\x1b[31m", "\t"]), max_size=60
).map("".join)


@given(text=TEXTS, width=st.integers(10, 50), first=st.integers(1, 5), last=st.integers(1, 5))
def test_a_text_is_cut_in_its_middle_and_nothing_else_is_lost(text, width, first, last):
    special = ("<|a|>", MARK)
    whole = cut(text, special, (10**6, 1), width)
    assert all(cell_len(row) <= width for row in whole)
    assert "".join(whole).replace(NEWLINE, "\n").replace("⇥", "\t").replace(r"\x1b", "\x1b") == text
    assert sum(row.count("<|a|>") for row in whole) == text.count("<|a|>"), "never over two rows"
    rows = cut(text, special, (first, last), width)
    if len(whole) <= first + last + 2:
        assert rows == whole
    else:
        assert len(rows) == first + last + 1
        assert rows[:first] + rows[-last:] == whole[:first] + whole[-last:]
        said = int(rows[first].split()[1].replace(",", ""))
        assert said == len("".join(whole[first:-last]))


def test_several_files_have_a_page_each_and_one_that_fails_fails_them_all(mine, capsys, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text(f"base: {LAB_CONFIG}\nstrategy: {{widht: 4}}\n")
    fine = [str(LAB_CONFIG), f"runs={tmp_path}"]
    assert run_command(["check", *fine, str(LAB_CONFIG)]) == 0
    assert capsys.readouterr().out.count("nothing would fail") == 1, "the same file is checked once"
    assert run_command(["check", str(bad), *fine, str(mine)]) == 2
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.endswith((".yaml", ".yml"))] == [
        *map(str, (bad, LAB_CONFIG, mine))
    ]
    assert (out.count("nothing would fail"), out.count("1 thing would fail")) == (1, 1)
    assert err.startswith(f"ttc: {bad}: strategy.widht: 4 is not usable")
    assert run_command(["check", str(bad), *fine, str(mine), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert list(told) == [*map(str, (bad, LAB_CONFIG, mine))]
    assert told[str(bad)]["error"].startswith("strategy.widht: ")
    assert (told[str(LAB_CONFIG)]["failures"], len(told[str(mine)]["failures"])) == ([], 1)
    assert run_command(["check", str(LAB_CONFIG), "no.yaml", "--json"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("ttc: no.yaml: config: 'no.yaml' is not usable")
    assert json.loads(out)["no.yaml"]["error"].startswith("config: 'no.yaml'")


@pytest.fixture
def grid(tmp_path):
    """A sweep in which two of three strategies cannot be run, under two seeds."""
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"""
base: {LAB_CONFIG}
name: s
runs: {tmp_path}/runs
problems: {{limit: 4}}
budget: {{generations: 4}}
sweep:
  strategies: [{{name: best_of_n, m: 3}}, {{name: best_of_n, seed: 1}}, {{name: best_of_n, n: 8}}]
  grid: {{seed: [0, 1]}}
"""
    )
    return path


def test_every_cell_of_a_sweep_is_checked(grid, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["check", str(grid)]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(cell_len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert text.startswith("sweep s: 6 cells, ")
    assert "; beside them, samples to compare with: 3.2 GFLOPs at most (baseline) cells" in text
    assert "2 × best_of_n n=8" in text
    assert "fails strategy.m: 3 is not usable; best_of_n takes n (in best_of_n-m=3-seed=0-" in text
    assert "takes n; the configuration's seed is an axis of sweep.grid (in best_of_n-seed=1-seed=0-" in text
    assert "doubt strategy.n is 8, and the budget pays for 4 solutions a problem" in text
    assert text.endswith("2 things would fail in 6 cells; 1 doubt")
    assert run_command(["check", str(grid), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (len(told["cells"]), len(told["failures"]), len(told["doubts"])) == (2, 2, 1)
    assert not (grid.parent / "runs" / "s").exists(), "nothing is begun"


def test_a_sweep_that_would_run_is_told_so(grid, capsys, monkeypatch):
    grid.write_text(grid.read_text().replace("m: 3", "n: 2").replace("seed: 1", "n: 4"))
    assert run_command(["check", str(grid)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("nothing would fail in 6 cells; 1 doubt")
    grid.write_text(grid.read_text().replace("seed: [0, 1]", "generator.replicas: [2, 900]"))
    monkeypatch.setattr("orchestrator.config.capacity.free_memory", lambda: 100 * 2**30)
    assert run_command(["check", str(grid)]) == 2
    assert "generator.replicas: 900 is not usable; 901 engines need" in " ".join(
        capsys.readouterr().out.split()
    )


OWN = """
def grade(text, truth):
    return truth in text

def broken(text, truth):
    return int(text)

def score(problem, steps):
    assert problem.startswith("How many")
    return 0.25

def outside(problem, steps):
    return float("nan")
"""


def test_a_users_own_functions_are_called_once_on_the_first_problem(mine, capsys):
    file = mine.parent / "own.py"
    file.write_text(OWN)
    own = ["problems.limit=2", f"problems.answers={file}:grade", f"verifier.model={file}:score"]
    assert run_command(["check", str(mine), *own]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "own.py:grade reads 'The first step of a solution." in out
    assert "which is right" in out
    assert "own.py:score scores an example solution 0.25" in out


def test_a_users_own_function_that_fails_is_told_with_its_line(mine, capsys):
    file = mine.parent / "own.py"
    file.write_text(OWN)
    own = ["problems.limit=2", f"problems.answers={file}:broken", f"verifier.model={file}:outside"]
    assert run_command(["check", str(mine), *own, "--json"]) == 2
    checker, verifier = json.loads(capsys.readouterr().out)["failures"]
    assert checker.startswith(f"problems.answers: {file}:broken on problem problems-00000: ValueError")
    assert f"{file}:6 in broken" in checker
    assert verifier.startswith(f"verifier.model: {file}:outside on problem problems-00000: ValueError")
    assert "it returned nan; needed: numbers from 0 to 1" in verifier


def test_what_a_judge_reads_is_shown(mine, capsys):
    judged = ["problems.answers=judge", f"judge.model={mine.parent}/generator", "judge.choices={N: 0, Y: 1}"]
    assert run_command(["check", str(mine), "problems.limit=2", *judged]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "what the judge of answers reads" in out
    assert "Given answer:↵ 72↵" in out
    assert f"Answer with N or Y only.<|im_end|>↵ <|im_start|>assistant↵ {MARK}" in out


def test_what_the_generator_reads_to_choose_is_shown(mine, capsys):
    chosen = ["selection.generative=true", "selection.max_tokens=9"]
    assert run_command(["check", str(mine), "problems.limit=2", *chosen]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "what the generator reads to choose between two solutions" in out
    assert '"Choice: " and the number of that solution' in out
