"""The model that judges answers: how it is asked, what that costs, and what has to fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from actors.dialects import ChatFrame
from actors.reading import Reading
from orchestrator.budget.flops import CostModel
from orchestrator.config.endpoint import QUESTION, at_server, check_endpoint, framed
from orchestrator.config.lengths import context
from orchestrator.config.model_config import config_of, costs_of
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput, at_least
from orchestrator.formats.closed_question import ClosedQuestion
from orchestrator.grading.judge import Judge
from orchestrator.grading.registry import resolve
from orchestrator.problems.codec import load_tokenizer
from orchestrator.problems.problem import Problem, filled

TEMPLATE = (
    "Question:\n{problem}\n\nTrue answer:\n{truth}\n\nGiven answer:\n{answer}\n\n"
    "Is the given answer the same as the true answer, however it is written? Answer with {choices} only."
)
CHOICES = {"No": 0.0, "Yes": 1.0}
_FIELD = re.compile(r"\{(problem|truth|answer|solution|choices)\}")


def check_judge(config: Config) -> None:
    """Raises BadInput where a judge is asked for and there is none, or the other way round."""
    section, judged = config.judge, isinstance(resolve(config.problems.answers), Judge)
    if judged and section.model is None:
        raise BadInput("judge.model", None, "needed with problems.answers=judge: a causal language model")
    if section.model is not None and not judged:
        needed = f"it would judge nothing: problems.answers is {config.problems.answers}"
        raise BadInput("judge.model", section.model, needed)
    if section.template is not None and "{answer}" not in section.template:
        raise BadInput("judge.template", section.template, "it must contain {answer}")
    if section.endpoint is not None:
        check_endpoint("judge", section.endpoint)
        for key, usual in (("engine", {}), ("replicas", 1), ("min_replicas", None)):
            if (value := getattr(section, key)) != usual:
                raise BadInput(f"judge.{key}", value, "an endpoint has engines of its own: leave it out")
    at_least("judge.max_tokens", section.max_tokens, 1)
    if section.flops is not None and not 0 < section.flops < float("inf"):
        raise BadInput("judge.flops", section.flops, "allowed: above 0, or null")


@dataclass(frozen=True)
class PreparedJudge:
    """A judge that has been looked at and not started."""

    costs: CostModel
    question: ClosedQuestion
    template: str
    limit: int | None
    """The most tokens that it reads and writes; None where neither the engine's options nor the model
    tell."""
    flops: int | None
    """FLOPs that all judging may take; None where there is no limit."""
    writes: int = 0
    """Tokens of an answer that it writes at most; 0 where the verdict is read from odds, and nothing is
    written."""
    frame: ChatFrame | None = None
    """What stands around a question, for a server that only chats."""

    @property
    def reading(self) -> Reading:
        """How an engine's outputs become a verdict from 0 to 1."""
        return self.question.reading

    def cost(self, asked: int, written: int) -> int:
        """Returns the FLOPs of a question and an answer of so many tokens."""
        if not self.writes:
            return self.costs.score(0, asked)
        return self.costs.prefill(asked) + self.costs.sample(asked, written)

    def tokens(self, problem: Problem, answer: str, solution: str) -> tuple[int, ...]:
        """Returns the token ids of the question about an answer, which ``solution`` has."""
        said = {
            "problem": filled("{problem}", problem),
            "truth": " or ".join((problem.answer, *problem.also)),
            "answer": answer,
            "solution": solution,
            "choices": " or ".join(self.question.choices),
        }
        # In one pass: what is filled in may have braces.
        return self.question.tokens(_FIELD.sub(lambda field: said[field[1]], self.template))


def prepare_judge(config: Config) -> tuple[Config, PreparedJudge | None]:
    """Returns the run's judge, None where no model judges, and the configuration as an endpoint heeds it.

    Raises BadInput.
    """
    section = config.judge
    if section.model is None:
        return config, None
    tokenizer = load_tokenizer(
        section.model,
        key="judge.model",
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )
    choices = dict(section.choices) or CHOICES
    question = ClosedQuestion("judge", section.model, tokenizer, choices, section.system)
    costs_of("judge", section, choices=1)  # refuses what is no causal language model
    limit = section.engine.get("max_model_len") or context(config_of("judge", section))
    flops = None if section.flops is None else int(section.flops)
    template, frame = section.template or TEMPLATE, None
    if section.endpoint is None:
        costs = costs_of("judge", section, choices=len(question.reading.tokens))
        question.check()
        return config, PreparedJudge(costs, question, template, limit, flops)
    if question.chats:
        frame = framed(tokenizer, question.tokens(QUESTION), question.turns("")[:-1], {})
    judge = PreparedJudge(
        costs_of("judge", section), question, template, limit, flops, section.max_tokens, frame
    )
    return replace(config, judge=at_server(section)), judge
