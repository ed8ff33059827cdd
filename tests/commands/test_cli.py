"""Bad input through the command: one line that names key, value and what is allowed; exit status 2;
nothing started."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from orchestrator.commands.cli import run_command
from orchestrator.config.schema import LAB_MODELS
from orchestrator.lab import evaluate_reviser
from orchestrator.strategies.registry import resolve
from tests.support.paths import CONFIGS
from tests.support.refused import refused

pytestmark = pytest.mark.usefixtures("nothing_starts")

LAB_CONFIG = str(CONFIGS / "lab.yaml")


@pytest.mark.parametrize(
    ("override", "key", "value", "allowed"),
    [
        ("budget.flopz=1e12", "budget.flopz", "unknown key", "flops"),
        ("speed=9", "speed", "unknown key", "budget"),
        ("generater.replicas=1", "generater", "unknown key; did you mean generator?", "budget"),
        ("generator.replicas=two", "generator.replicas", "two", "a whole number"),
        ("generator.replicas=0", "generator.replicas", "0", "1 or more"),
        ("generator.min_replicas=3", "generator.min_replicas", "3", "1 to generator.replicas (1)"),
        ("generator.resources.num_gpus=2", "generator.resources.num_gpus", "2", "allowed: 1, a GPU for each"),
        ("generator.resources.custom.tpu=-1", "generator.resources.custom.tpu", "-1", "0 or more"),
        (
            "generator.engine.tensor_parallel_size=0",
            "generator.engine.tensor_parallel_size",
            "0",
            "1 or more",
        ),
        ("cluster.probe_timeout_seconds=0", "cluster.probe_timeout_seconds", "0", "1 or more"),
        ("generator.temperature=-1", "generator.temperature", "-1", "0 to 2"),
        ("generator.temperature=2.5", "generator.temperature", "2.5", "0 to 2"),
        ("generator.top_p=0", "generator.top_p", "0", "above 0"),
        ("generator.step_delimiter=''", "generator.step_delimiter", "''", "one or more characters"),
        ("generator.max_tokens=500", "generator.engine.max_model_len", "128", "542 or more"),
        ("generator.engine.max_model_len=10", "generator.engine.max_model_len", "10", "90 or more"),
        ("generator.engine.max_model_len=abc", "generator.engine.max_model_len", "abc", "a whole number"),
        (
            "verifier.engine.max_num_seq=8",
            "verifier.engine.max_num_seq",
            "8",
            "did you mean max_num_seqs?",
        ),
        ("generator.engine.model=other", "generator.engine.model", "other", "are generator.model's"),
        ("generator.engine.dtype=float16", "generator.engine.dtype", "float16", "set generator.dtype"),
        (
            "generator.engine.speculative_config={}",
            "generator.engine.speculative_config",
            "{}",
            "would not be charged",
        ),
        (
            "generator.resources.custom.CPU=1",
            "generator.resources.custom.CPU",
            "1.0",
            "other names than CPU, GPU",
        ),
        (
            "generator.resources.custom.big=1.5",
            "generator.resources.custom.big",
            "1.5",
            "whole numbers above 1",
        ),
        ("strategy.name=beam", "strategy.name", "beam", "beam_search, best_of_n"),
        ("strategy.n=10", "strategy.n", "10", "multiples of strategy.width (4)"),
        ("strategy.width=64", "strategy.width", "64", "1 to strategy.n (32)"),
        ("strategy.n=many", "strategy.n", "many", "type int"),
        ("strategy.depth=3", "strategy.depth", "3", "beam_search takes n, width, max_rounds"),
        ("strategy.name=budget_forcing", "generator.end_of_thinking", "null", "as </think>"),
        ("generator.end_of_thinking=''", "generator.end_of_thinking", "''", "one or more characters"),
        ("budget.flops=0", "budget.flops", "0", "a positive number of FLOPs"),
        ("budget.flops=-1e9", "budget.flops", "-1e9", "a positive number of FLOPs"),
        ("budget.generations=0", "budget.generations", "0", "a positive number of generations a problem"),
        ("budget.tokens=3", "budget.tokens", "3", "64 or more, one a problem"),
        ("budget={flops: 1e9, tokens: 1e6}", "budget", "flops", "exactly one"),
        ("budget.flops=null", "budget", "[]", "flops, tokens or generations"),
        ("budget.solution_tokens=0", "budget.solution_tokens", "0", "1 or more"),
        ("strategy.n=${budget.generations}", "strategy.n", "null", "type int"),
        ("budget.flops=1e12x", "budget.flops", "1e12x", "a number or null"),
        ("budget.flops=1000", "budget.flops", "1000", "none buys a longest step with its prompt"),
        ("generator.model=nowhere/at/all", "generator.model", "nowhere/at/all", "directory"),
        ("verifier.model=/nowhere", "verifier.model", "/nowhere", "directory"),
        ("generator.model=~nouser/x", "generator.model", "~nouser/x", "directory"),
        (f"generator.model=/{'x' * 300}", "generator.model", "/xxx", "directory"),
        (f"generator.model={'x' * 300}", "generator.model", "xxx", "Hugging Face"),
        ("problems={source: file, path: ~nouser/x.jsonl}", "problems.path", "~nouser/x.jsonl", "file"),
        (f"problems={{source: file, path: {'x' * 300}}}", "problems.path", "xxx", "an existing file"),
        ("verifier.model=null", "verifier.model", "null", "beam_search needs a verifier"),
        ("verifier.kind=orm", "verifier.kind", "orm", "allowed: prm (beam_search goes by steps)"),
        ("verifier.aggregation=mean", "verifier.aggregation", "mean", "last, min or prod"),
        ("problems.split=exam", "problems.split", "exam", "test, bins, validation or train"),
        (
            "problems.source=csv",
            "problems.source",
            "csv",
            "lab, coins, file, jsonl, datasets or reasoning_gym",
        ),
        ("problems.source=jsonl", "problems.path", "null", "needed with problems.source=jsonl: a file"),
        ("problems.limit=0", "problems.limit", "0", "1 or more"),
        ("problems.template=hello", "problems.template", "hello", "{problem}"),
        ("allocation.name=greedy", "allocation.name", "greedy", "uniform"),
        ("tracking.traces=-1", "tracking.traces", "-1", "0 to 100"),
        ("tracking.traces=101", "tracking.traces", "101", "0 to 100"),
        ("nonsense", "override", "nonsense", "key=value"),
    ],
)
def test_a_bad_key_is_one_line(capsys, override, key, value, allowed):
    line = refused(capsys, "run", LAB_CONFIG, override)
    assert line.startswith(f"ttc: {key}: ")
    assert value in line
    assert allowed in line


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:70000", "http://host"])
def test_an_address_that_is_none_is_bad_input(capsys, address):
    line = refused(capsys, "run", LAB_CONFIG, f"cluster.address='{address}'")
    assert "allowed: null (this machine), auto (the cluster that this machine is in) or host:port" in line


def test_thinking_must_leave_room_for_an_answer(capsys):
    forcing = ["strategy.name=budget_forcing", "strategy.min_thinking_tokens=0", "strategy.answer_prefix=''"]
    line = refused(capsys, "run", LAB_CONFIG, "generator.end_of_thinking='#'", *forcing)
    assert "strategy.max_thinking_tokens: 1024 is not usable; generator.max_tokens is 48" in line
    assert "2 tokens cut the thinking; allowed: 45 or less" in line


def test_a_config_that_is_not_there_or_not_yaml(capsys, tmp_path):
    assert "allowed: an existing YAML file" in refused(capsys, "run", "nowhere.yaml")
    for name, text in (("list", "- 1\n- 2\n"), ("broken", "a: [1,\n"), ("loop", "base: loop.yaml\n")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        assert "ttc: " in refused(capsys, "run", str(path))


@pytest.mark.parametrize(
    ("text", "place"), [("name: x\n\tseed: 1\n", "2:1"), ("name:\tx\nbudget:\n\tflops: 1e9\n", "3:1")]
)
def test_a_tab_is_told_as_one(capsys, tmp_path, text, place):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    line = refused(capsys, "run", str(path))
    assert f"c.yaml:{place}' is not usable; this is no valid YAML: a tab is no indentation" in line


def test_a_key_without_a_default_is_asked_for(capsys, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nstrategy: {name: best_of_n}\nbudget: {flops: 1e12}\n")
    line = refused(capsys, "run", str(path))
    assert "generator.model" in line
    assert "no default" in line


def test_a_file_inherits_and_its_strategy_replaces_the_bases(tmp_path):
    from orchestrator.config.loading import load

    path = tmp_path / "child.yaml"
    path.write_text(f"base: {LAB_CONFIG}\nseed: 7\nstrategy: {{name: best_of_n, n: 3}}\n")
    config = load(path, ["budget.flops=5e9"])
    assert config.strategy == {"name": "best_of_n", "n": 3}
    assert (config.seed, config.budget.flops, config.generator.replicas) == (7, 5e9, 1)


def test_naming_another_strategy_drops_the_parameters_of_the_first_and_the_same_one_keeps_them():
    from orchestrator.config.loading import load

    other = resolve(load(LAB_CONFIG, ["strategy.name=best_of_n"]).strategy).section
    assert other == {"name": "best_of_n", "n": 16}
    same = resolve(load(LAB_CONFIG, ["strategy.name=beam_search", "strategy.n=8"]).strategy).section
    assert same == {"name": "beam_search", "n": 8, "width": 4, "max_rounds": 40, "distinct": True}


def test_a_budget_in_one_unit_replaces_one_in_another_and_a_strategy_can_refer_to_it(tmp_path):
    from orchestrator.config.loading import load

    path = tmp_path / "child.yaml"
    path.write_text(
        f"base: {LAB_CONFIG}\nbudget: {{generations: 4, solution_tokens: 43}}\n"
        "strategy: {name: best_of_n, n: '${budget.generations}'}\n"
    )
    config = load(path)
    assert (config.budget.units, config.strategy["n"]) == (["generations"], 4)
    assert load(path, ["budget.generations=9"]).strategy["n"] == 9
    tokens = load(path, ["strategy.n=1", "budget.tokens=5e3"]).budget
    assert (tokens.units, tokens.tokens, tokens.solution_tokens) == (["tokens"], 5000, 43)


def test_a_model_directory_without_a_tokenizer(capsys, tmp_path):
    shutil.copy(LAB_MODELS / "generator-s" / "config.json", tmp_path)
    line = refused(capsys, "run", LAB_CONFIG, f"generator.model={tmp_path}")
    assert "ttc: generator.model: " in line
    assert "no tokenizer" in line


def test_a_verifier_with_another_vocabulary(capsys, tmp_path):
    model = tmp_path / "prm"
    shutil.copytree(LAB_MODELS / "prm", model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["1"], vocabulary["2"] = vocabulary["2"], vocabulary["1"]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    line = refused(capsys, "run", LAB_CONFIG, f"verifier.model={model}")
    assert "ttc: verifier.model: " in line
    assert "same vocabulary" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no problem"),
        ("\n\n", "holds no problem"),
        ("not json\n", ":1: 'not json' is not usable; the line is not JSON"),
        ('{"problem": "1+1"}\n', ":1: answer: null"),
        ('{"problem": "1+1", "answer": "2"}\n{"problem": "", "answer": "2"}\n', ":2: problem: ''"),
        ('{"problem": "1+1", "answer": true}\n', ":1: answer: true"),
        ("[1]\n", "a JSON object with problem and answer"),
        (
            '{"id": "a", "problem": "1", "answer": "1"}\n{"id": "a", "problem": "2", "answer": "2"}\n',
            ":2: id: 'a'",
        ),
        ('{"id": "a\\u0000b", "problem": "1", "answer": "1"}\n', "text without a NUL"),
        ('{"id": "a\\ud800", "problem": "1", "answer": "1"}\n', "half a surrogate pair"),
        ('{"problem": "1", "answer": "\\udc00"}\n', "half a surrogate pair"),
    ],
)
def test_a_malformed_problem_file(capsys, tmp_path, text, said):
    path = tmp_path / "problems.jsonl"
    path.write_text(text)
    line = refused(capsys, "run", LAB_CONFIG, "problems.source=jsonl", f"problems.path={path}")
    assert said in line


def test_a_problem_file_that_is_not_there(capsys):
    assert "problems.path" in refused(
        capsys, "run", LAB_CONFIG, "problems.source=jsonl", "problems.path=nowhere.jsonl"
    )


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["verifier.model=${lab:generator-s}"], "verifier.format"),
        (["generator.model=${lab:prm}"], "generator.model"),
        (["strategy.name=revisions", "reviser.format=lab"], "generator.engine.max_model_len"),
        (["generator.chat=true"], "generator.chat"),
        (["generator.temperature=nan"], "generator.temperature"),
        (["generator.resources.num_cpus=1.5"], "generator.resources.num_cpus"),
        (["name=a/b"], "name"),
        (["name=-x"], "name"),
        (["runs=/proc/nowhere"], "runs"),
    ],
)
def test_models_lengths_and_names_that_do_not_fit(capsys, overrides, key):
    assert refused(capsys, "run", LAB_CONFIG, *overrides).startswith(f"ttc: {key}: ")


@pytest.mark.parametrize("without", ["verifier.model=null", "verifier.kind=orm"])
def test_a_format_that_shows_scores_needs_a_verifier_of_steps(capsys, without):
    revisions = ["strategy.name=revisions", "reviser.format=verifier_feedback"]
    line = refused(capsys, "run", LAB_CONFIG, *revisions, without)
    assert line.startswith("ttc: reviser.format: 'verifier_feedback' is not usable; it shows")
    assert without.replace("=", " is ") in line
    assert "allowed: lab, plain or self_critique" in line


def test_labels_of_nothing(capsys, tmp_path):
    out = str(tmp_path / "labels.parquet")
    assert "ttc: --solutions: 0" in refused(capsys, "verifier", "label", LAB_CONFIG, out, "--solutions", "0")
    assert "ttc: --chains: 0" in refused(capsys, "verifier", "label", LAB_CONFIG, out, "--chains", "0")
    line = refused(capsys, "verifier", "label", LAB_CONFIG, str(tmp_path))
    assert line.startswith(f"ttc: out: '{tmp_path}' is not usable; allowed: a file")
    assert "ttc: out: '/proc/x/y'" in refused(capsys, "verifier", "label", LAB_CONFIG, "/proc/x/y")
    assert "ttc: --resume" in refused(capsys, "verifier", "label", LAB_CONFIG, out, "--resume", "none")


@pytest.mark.parametrize("samples", ["10", "0", "-16"])
def test_samples_that_are_no_whole_groups(capsys, samples):
    line = refused(capsys, "lab", "evaluate", f"--samples={samples}")
    assert line.startswith(f"ttc: --samples: {samples} is not usable; allowed: multiples of 16")


def test_the_reviser_is_measured_by_the_command(capsys, monkeypatch):
    monkeypatch.setattr(evaluate_reviser, "LENGTH", evaluate_reviser.REVISIONS + 1)
    once = partial(evaluate_reviser.evaluate_reviser, seeds=(0,))
    monkeypatch.setattr(evaluate_reviser, "evaluate_reviser", once)
    assert run_command(["lab", "evaluate", "--reviser", "--problems", "4"]) == 0
    said = capsys.readouterr().out
    assert "reviser over generator-s: 4 test problems" in said
    assert "to_wrong" in said
