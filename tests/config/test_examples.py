"""What the README points to: the example configurations pass every check, its code is the tested one."""

from __future__ import annotations

import re

import pytest

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.strategies.registry import REGISTRY
from tests.support.paths import CONFIGS, OWN_STRATEGY, ROOT

EXAMPLES = sorted((CONFIGS / "strategies").glob("*.yaml"))
TEMPLATES = {"budget_forcing"}
"""For a model from the hub and problems of one's own: loaded, and no more."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_every_check(path, tmp_path):
    config = load(path, [f"runs={tmp_path}"])
    assert config.name.replace("-", "_") == path.stem
    if path.stem not in TEMPLATES:
        prepared = prepare(config)
        assert len(prepared.problems) == 64
        assert (prepared.verifier is None) == path.stem.endswith("self_consistency")
        assert (prepared.reviser is None) == (path.stem != "revisions")


def test_every_strategy_has_an_example():
    names = {load(path).strategy["name"] for path in EXAMPLES}
    assert names == set(REGISTRY) - {"compute_optimal"}, "that one runs a policy fitted to a sweep"


ROOMS = sorted(
    path
    for room in ("orchestrator", "actors", "configs", "cluster")
    for path in (ROOT / room).rglob("README.md")
)


def test_the_readme_is_two_pages_and_a_rooms_is_no_more_than_three():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert all(len(path.read_text().splitlines()) <= 200 for path in ROOMS)
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    paragraphs = [part.splitlines() for part in re.split(r"\n\s*\n|\n(?=[-|])", text)]
    assert max(map(len, paragraphs)) <= 4


def test_every_link_of_a_readme_leads_somewhere():
    for path in (ROOT / "README.md", *ROOMS):
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), (path, target)


def test_every_configuration_that_is_named_is_there():
    texts = (ROOT / "Makefile", ROOT / "README.md", *ROOMS, *CONFIGS.rglob("*.yaml"))
    named = [
        (path.name, name)
        for path in texts
        for name in re.findall(r"configs/[\w./-]+\.(?:yaml|py)", path.read_text())
    ]
    assert len(named) > 20
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []


def test_the_readmes_own_run_passes_every_check(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "my.yaml").write_text(text)
    (tmp_path / "problems.jsonl").write_text('{"problem": "12", "answer": "3"}\n')
    monkeypatch.chdir(tmp_path)
    config = load("my.yaml")
    assert config.generator.model == "Qwen/Qwen2.5-Math-1.5B-Instruct"
    lab = load("my.yaml", ["generator.model=${lab:generator-s}", "generator.chat=false"])
    assert prepare(lab).strategy.section == {"name": "best_of_n", "n": 16}


def test_the_readmes_ready_set_is_found_wherever_the_run_is_saved(tmp_path):
    readme = (ROOT / "README.md").read_text()
    base = re.search(r"`(base: \S+)` in place of `problems`", readme)
    run = readme.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "my.yaml").write_text(re.sub(r"(?m)^problems: .*$", lambda _: base.group(1), run))
    assert load(tmp_path / "my.yaml").problems.path == "openai/gsm8k"


def test_the_readmes_own_strategy_is_the_file_that_is_tested():
    code = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert code == OWN_STRATEGY.read_text()
