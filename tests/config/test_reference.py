"""The table of keys says what the code does, and the examples of configs/README.md work as printed."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import is_dataclass
from typing import get_type_hints

import pytest

from orchestrator.config import checks, reference, schema
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.grading.registry import CHECKERS
from orchestrator.problems.lab import SPLITS, problems
from orchestrator.problems.sources import SOURCES
from orchestrator.runs import grid
from orchestrator.search.revision import FORMATS
from orchestrator.search.selection import AGGREGATIONS
from tests.support.paths import CONFIGS, ROOT

README = CONFIGS / "README.md"
OWN_RUN, _, SWEEP = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
SCHEMAS = [kind for kind in vars(schema).values() if is_dataclass(kind) and isinstance(kind, type)]
CHOICES = [
    (schema.Config, "log_level", checks.LOG_LEVELS),
    (schema.ProblemsConfig, "source", SOURCES),
    (schema.ProblemsConfig, "split", SPLITS),
    (schema.ProblemsConfig, "too_long", checks.TOO_LONG),
    (schema.ProblemsConfig, "answers", CHECKERS),
    (schema.GeneratorConfig, "dtype", checks.DTYPES),
    (schema.VerifierConfig, "dtype", checks.DTYPES),
    (schema.VerifierConfig, "kind", checks.VERIFIER_KINDS),
    (schema.VerifierConfig, "aggregation", AGGREGATIONS),
    (schema.ReviserConfig, "dtype", checks.DTYPES),
    (schema.ReviserConfig, "format", FORMATS),
    (schema.AllocationConfig, "name", checks.ALLOCATIONS),
]


def test_the_file_of_keys_holds_the_table_that_the_schema_makes():
    text = (CONFIGS / "KEYS.md").read_text()
    assert reference.with_table(text) == text, (
        "python -m orchestrator.config.reference --write configs/KEYS.md"
    )


def test_every_key_has_a_sentence_and_every_section_too():
    for section in SCHEMAS:
        described = reference.sentences(section)
        for key, kind in get_type_hints(section).items():
            if not is_dataclass(kind):
                assert described[key].endswith("."), f"{section.__name__}.{key}"
        assert section.__doc__ is not None


def test_the_table_has_the_keys_of_a_configuration():
    rows = re.findall(r"^\| `([\w.]+)` \|", reference.table(), re.MULTILINE)
    assert len(set(rows)) == len(rows)
    given = ["strategy={name: best_of_n}", "generator.endpoint=http://host/v1"]
    given += ["problems.answers=judge", "judge.model=m", "judge.endpoint=http://host/v1"]
    flat = set(_flat(schema.to_dict(load(CONFIGS / "lab.yaml", given))))
    strategy = {name for name in flat if name.startswith("strategy.")}
    free = {name for name in flat if re.match(r"\w+\.(engine|resources\.custom)\.", name)}
    ours = {name for name in rows if not name.startswith("sweep.")}
    sections = {"generator.endpoint", "judge.endpoint", "generator.engine", "verifier.engine"}
    assert ours - flat == {"strategy", *sections}
    assert flat - ours == strategy | free


@pytest.mark.parametrize(
    ("section", "key", "allowed"), CHOICES, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_sentence_of_a_choice_names_what_is_allowed(section, key, allowed):
    for choice in allowed:
        assert f"`{choice}`" in reference.sentences(section)[key]


def test_a_file_without_the_marks_is_refused(tmp_path, monkeypatch, capsys):
    file = tmp_path / "README.md"
    file.write_text("nothing here\n")
    monkeypatch.setattr(sys, "argv", ["reference", "--write", str(file)])
    with pytest.raises(SystemExit) as end:
        reference.main()
    assert end.value.code == 2
    assert "needed: a line <!-- Made by" in capsys.readouterr().err
    assert file.read_text() == "nothing here\n"


def test_the_run_of_your_own_loads_as_printed_and_fits_models_and_problems_that_are_there(tmp_path):
    file, data = tmp_path / "my.yaml", tmp_path / "problems.jsonl"
    file.write_text(OWN_RUN)
    data.write_text("".join(json.dumps({"problem": p.prompt, "answer": p.answer}) + "\n" for p in _three()))
    assert load(file).generator.model.startswith("Qwen/")
    models = ["generator.model=${lab:generator-s}", "verifier.model=${lab:prm}", "generator.chat=false"]
    prepared = prepare(load(file, [*models, f"problems.path={data}", f"runs={tmp_path}"]))
    assert [problem.answer for problem in prepared.problems] == [problem.answer for problem in _three()]
    assert prepared.verifier is not None
    assert prepared.budget.generations == pytest.approx(16)


def test_the_sweep_has_as_many_cells_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "my-sweep.yaml"
    file.write_text(SWEEP.replace("base: configs", f"base: {CONFIGS}"))
    roles = [cell.role for cell in grid.read(file, [f"runs={tmp_path}"]).cells]
    assert (roles.count("cell"), roles.count("difficulty")) == (16, 2)


def test_the_commands_of_the_readme_are_accepted():
    commands = re.findall(r"^ttc run (\S+) (.*)$", README.read_text(), re.MULTILINE)
    assert len(commands) == 3
    for path, overrides in commands:
        load(ROOT / path, [word.strip("'") for word in overrides.split()])


def test_every_example_is_in_the_readme():
    for path in CONFIGS.iterdir():
        elsewhere = ("README.md", "KEYS.md", "strategies", "sets", "models")
        assert path.name in elsewhere or f"`{path.name}`" in README.read_text(), path.name


def _three():
    return problems("test", 3)


def _flat(node: dict, prefix: str = ""):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
