"""The ready sets, each through its own source, template and checker: what models write is graded right."""

from __future__ import annotations

import pytest
import yaml

from orchestrator.config.loading import load
from orchestrator.config.truths import graded_against_itself
from orchestrator.errors import BadInput
from orchestrator.grading.registry import resolve
from orchestrator.grading.thinking import without_thinking
from orchestrator.problems.problem import Problem, Wanted, filled
from orchestrator.problems.sources import SOURCES
from tests.support.paths import LAB_CONFIG
from tests.support.ready_sets import SETS, write

NAMES = sorted(path.stem for path in SETS.glob("*.yaml"))
FIRST = {
    "math-500": ("test/precalculus/807.json", "\\left( 3, \\frac{\\pi}{2} \\right)"),
    "gsm8k": ("gsm8k-00000", "18"),
    "aime-2024": ("60", "204"),
    "aime-2025": ("0", "70"),
    "amc-2023": ("0", "27"),
    "gpqa-diamond": ("rec06pnAkLOr2t2mp", None),
}
"""Id and answer of the first row."""

OUTPUTS = [
    ("math-500", 0, "The point lies on the $y$-axis.\n\n$\\boxed{\\left(3, \\frac{\\pi}{2}\\right)}$", True),
    ("math-500", 0, "So the answer is $(3, \\pi/2)$.", True),
    ("math-500", 0, "$$\\boxed{(3, \\frac{\\pi}{3})}$$", False),
    ("math-500", 0, "$r = \\boxed{3}$", False),
    ("math-500", 1, "The fastest student is $\\boxed{\\text{Evelyn}}$.", True),
    ("math-500", 1, "**The answer is Evelyn.**", True),
    ("math-500", 1, "\\boxed{Briana}", False),
    ("math-500", 2, "Thus \\(\\boxed{-3 \\le x \\le 3}\\)", True),
    ("math-500", 2, "Thus $x \\in \\boxed{[-3, 3]}$", True),
    ("math-500", 2, "\\boxed{(-3, 3)}", False),
    ("math-500", 3, "\\boxed{10\\%}", True),
    ("math-500", 3, "which is 10 percent. #### 10", True),
    ("math-500", 3, "\\boxed{0.01}", False),
    ("math-500", 4, "The roots are $\\boxed{-2}$ and $\\boxed{1}$.", True),
    ("math-500", 4, "\\boxed{x = 1 \\text{ or } x = -2}", True),
    ("math-500", 4, "\\boxed{1}", False),
    ("math-500", 5, "<think>\\boxed{7}? No.</think>The total is \\boxed{\\$18.90}.", True),
    ("math-500", 5, "\\boxed{18.9}", True),
    ("math-500", 5, "\\boxed{1.89}", False),
    ("gsm8k", 0, "She has 9 eggs left.\n9 * 2 = 18\n#### 18", True),
    ("gsm8k", 0, "She makes 9 × $2 = $\\boxed{18}$ dollars every day.", True),
    ("gsm8k", 0, "**Answer:** $18", True),
    ("gsm8k", 0, "Janet makes $18.00 a day. The answer is $18.00.", True),
    ("gsm8k", 0, "16 - 3 = 13. So the answer is \\boxed{26}.", False),
    ("gsm8k", 0, "18 eggs are laid, so she makes $36.", False),
    ("gsm8k", 1, "His profit is $\\boxed{\\$70,000}$.", True),
    ("gsm8k", 1, "The answer is 70000 dollars.", True),
    ("gsm8k", 1, "\\boxed{70}", False),
    ("aime-2024", 0, "Hence the walk takes \\boxed{204} minutes.", True),
    ("aime-2024", 0, "The final answer is: $\\boxed{204}$. I hope it is correct.", True),
    ("aime-2024", 0, "m+n = \\boxed{240}", False),
    ("aime-2024", 1, "$m + n = 25$, so the answer is $\\boxed{25}$.", True),
    ("aime-2024", 1, "\\boxed{025}", True),
    ("aime-2024", 1, "\\boxed{250}", False),
    ("aime-2025", 0, "The bases are 21 and 49, whose sum is $21+49=\\boxed{70}$.", True),
    ("aime-2025", 0, "<think>70 \\boxed{70}", False),
    ("aime-2025", 1, "The answer is 588.", True),
    ("aime-2025", 1, "\\boxed{587}", False),
    ("amc-2023", 0, "They meet $\\boxed{27}$ miles from City A.", True),
    ("amc-2023", 0, "They meet \\boxed{27.0} miles from City A.", True),
    ("amc-2023", 0, "\\boxed{\\textbf{(E)}\\ 27}", True),
    ("amc-2023", 0, "\\boxed{\\textbf{(E)}\\ 28}", False),
    ("amc-2023", 1, "#### 36", True),
    ("amc-2023", 1, "\\boxed{3.6}", False),
    ("gpqa-diamond", 0, "$\\boxed{%R}$", True),
    ("gpqa-diamond", 0, "The energy must exceed $\\hbar/\\tau$.\n\n**Answer: (%R)**", True),
    ("gpqa-diamond", 0, "The correct answer is **%R) 10^-4 eV**.", True),
    ("gpqa-diamond", 0, "\\boxed{\\text{(%R)}}", True),
    ("gpqa-diamond", 0, "\\boxed{%W}", False),
    ("gpqa-diamond", 0, "\\boxed{10^{-4}\\text{ eV}}", False),
    ("gpqa-diamond", 1, "The answer is %R.", True),
    ("gpqa-diamond", 1, "The answer is %W.", False),
]
"""A set, a row, and what a model writes; %R stands for the right letter, and %W for a wrong one."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """By name: the section of a ready set, loaded as a user's ``base``, and its problems."""
    directory, found = tmp_path_factory.mktemp("sets"), {}
    for name in NAMES:
        run = directory / f"{name}.yaml"
        run.write_text(f'base: [{LAB_CONFIG}, "${{sets:{name}}}"]\n')
        keys = load(run, [f"problems.path={write(name, directory)}", "problems.limit=null"]).problems
        wanted = Wanted(
            keys.path, keys.split, keys.subset, keys.revision, keys.limit, keys.columns, keys.options
        )
        found[name] = keys, SOURCES[keys.source].read(wanted)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_set_reads_rows_of_its_own_columns(sets, name):
    keys, problems = sets[name]
    problem: Problem = problems[0]
    id, answer = FIRST[name]
    assert problem.id == id
    prompt = filled(keys.template, problem)
    assert prompt.endswith("within \\boxed{}.")
    assert problem.prompt in prompt
    if answer is None:
        assert problem.choices["ABCD".index(problem.answer)] == "10^-4 eV"
        assert f"\n\n(A) {problem.choices[0]}\n(B) {problem.choices[1]}\n" in prompt
    else:
        assert problem.answer == answer
    if keys.by is not None:
        assert problem.attribute(keys.by) is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_sets_own_answers_are_right_by_its_checker(sets, name):
    keys, problems = sets[name]
    assert graded_against_itself(resolve(keys.answers), problems) == []


@pytest.mark.parametrize(
    ("name", "row", "text", "right"), OUTPUTS, ids=[f"{o[0]}-{o[1]}-{o[2][-30:]}" for o in OUTPUTS]
)
def test_what_a_model_writes_is_graded_by_the_sets_own_checker(sets, name, row, text, right):
    keys, problems = sets[name]
    problem, checker = problems[row], resolve(keys.answers)
    if problem.choices:
        wrong = next(letter for letter in "ABCD" if letter != problem.answer)
        text = text.replace("%R", problem.answer).replace("%W", wrong)
    answer = checker.extract(without_thinking(text))
    assert (answer is not None and checker.accepts(problem.answer, answer)) is right


def test_a_ready_set_is_no_more_than_its_problems():
    for path in SETS.glob("*.yaml"):
        held = yaml.safe_load(path.read_text())
        assert set(held) == {"problems"}, path.name
        assert held["problems"]["source"] == "datasets"
        assert held["problems"]["answers"] == ("choice" if path.stem.startswith("gpqa") else "math")
        assert "Licence" in path.read_text() or "licence" in path.read_text()


def test_a_ready_set_that_there_is_not_is_told_with_those_that_there_are(tmp_path):
    run = tmp_path / "run.yaml"
    run.write_text("base: ${sets:math}\n")
    with pytest.raises(BadInput, match=r"base: .*math\.yaml' is not usable; allowed: \$\{sets:aime-2024\}, "):
        load(run)
