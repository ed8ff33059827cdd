"""A causal language model as verifier: a judge of steps or of solutions, asked by a user's template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.assembly import controller_of
from tests.support.lab_engine import sampled
from tests.support.paths import LAB_CONFIG, ROOT
from tests.support.public_models import save_language_model

WORDS = "verifier.choices={N: 0, Y: 1}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "model"
    save_language_model(path, "qwen3")
    return path


class Engines:
    """The lab's random generator, and a judge that says how often the solution has the digit 1."""

    def __init__(self, run: Prepared) -> None:
        assert run.verifier is not None
        self.decode, self.read = run.verifier.tokenizer.decode, list[str]()
        self.requests: list[ScoreRequest] = []

    async def sample(self, request: SampleRequest) -> SampleResult:
        return sampled(request)

    revise = sample

    async def score(self, request: ScoreRequest) -> ScoreResult:
        text = self.decode(list(request.tokens))
        self.requests.append(request)
        self.read.append(text)
        solution = text.partition("so: ")[2].partition("|")[0]
        return ScoreResult(request.id, (solution.count("1") / 99,), len(request.tokens), "judge-0")


def prepared(tmp_path: Path, model: Path, *overrides: str) -> Prepared:
    given = [
        f"runs={tmp_path}",
        "problems.limit=2",
        f"verifier.model={model}",
        "verifier.engine={}",
        "verifier.format=judge",
        "verifier.template='{problem} so: {solution}| right? {choices}'",
        WORDS,
        "budget.flops=1e12",
    ]
    return prepare(load(LAB_CONFIG, [*given, *overrides]))


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("prm", "{name: beam_search, n: 4, width: 2}"),
        ("prm", "{name: best_of_n, n: 4}"),
        ("orm", "{name: best_of_n, n: 4}"),
    ],
)
async def test_a_judge_scores_by_the_users_template_and_is_charged_its_own_tokens(
    tmp_path, model, kind, strategy
):
    run = prepared(tmp_path, model, f"verifier.kind={kind}", f"strategy={strategy}")
    engines, journal = Engines(run), Journal(tmp_path / "journal.sqlite")
    control = controller_of(run, engines, journal)
    results = await control.run(run.problems, run.prompts, run.strategy)
    journal.close()
    assert run.verifier is not None
    assert [result.error for result in results] == [None, None]
    assert all(" right? N or Y<|im_end|>" in text for text in engines.read)
    for result in results:
        assert len(result.solutions) == 4
        for solution in result.solutions:
            steps = solution.text.split("\n")
            counts = [sum(step.count("1") for step in steps[: n + 1]) for n in range(len(steps))]
            expected = counts if kind == "prm" else counts[-1:]
            assert solution.step_scores == tuple(count / 99 for count in expected)
        assert result.usage.unscored == 0
    read = sum(len(request.tokens) for request in engines.requests)
    costs, flops = run.verifier.costs, control.usage.verifier_flops
    if kind == "orm":
        assert flops == sum(costs.score(0, len(request.tokens)) for request in engines.requests)
        assert control.usage.verifier_tokens == read
    else:
        # The problem once, then of each question what differs from the one before it.
        assert 0 < control.usage.verifier_tokens < read / 2
    assert control.budget.settled == sum(result.usage.flops for result in results)


def test_the_yaml_that_shows_a_judge_is_one_that_works(tmp_path, model):
    for readme in ("configs/README.md", "orchestrator/formats/README.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
        (block,) = (block for block in blocks if "format: judge" in block)
        file = tmp_path / "judge.yaml"
        file.write_text(f"base: {LAB_CONFIG}\n{block}")
        given = load(file).verifier
        assert set(given.choices) in ({"No", "Yes"}, set())
        # The tiny vocabulary lacks these words.
        file.write_text(f"base: {LAB_CONFIG}\n" + re.sub(r"  choices:.*\n", "", block))
        tiny = [f"runs={tmp_path}", f"verifier.model={model}", WORDS, "verifier.engine={}"]
        run = prepare(load(file, [*tiny, "strategy={name: best_of_n, n: 4}", "budget.flops=1e12"]))
        assert run.verifier is not None
        assert run.verifier.format is not None
        assert run.config.verifier.kind == given.kind
