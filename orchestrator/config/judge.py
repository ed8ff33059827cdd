"""The model that judges answers: how it is asked, what that costs, and what has to fit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actors.reading import Reading
from orchestrator.budget.flops import CostModel
from orchestrator.config.lengths import context
from orchestrator.config.model_config import config_of, costs_of
from orchestrator.config.schema import Config
from orchestrator.errors import BadInput
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
    if section.flops is not None and not 0 < section.flops < float("inf"):
        raise BadInput("judge.flops", section.flops, "allowed: above 0, or null")


@dataclass(frozen=True)
class PreparedJudge:
    """A judge that has been looked at and not started."""

    costs: CostModel
    question: ClosedQuestion
    template: str
    limit: int | None
    """The longest question in tokens; None where neither the engine's options nor the model tell."""
    flops: int | None
    """FLOPs that all judging may take; None where there is no limit."""

    @property
    def reading(self) -> Reading:
        """How the engine's outputs become a verdict from 0 to 1."""
        return self.question.reading

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


def prepare_judge(config: Config) -> PreparedJudge | None:
    """Returns the run's judge; None where no model judges. Raises BadInput."""
    section = config.judge
    if section.model is None:
        return None
    tokenizer = load_tokenizer(
        section.model,
        key="judge.model",
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )
    choices = dict(section.choices) or CHOICES
    question = ClosedQuestion("judge", section.model, tokenizer, choices, section.system)
    costs = costs_of("judge", section, choices=len(question.reading.tokens))
    question.check()
    return PreparedJudge(
        costs,
        question,
        section.template or TEMPLATE,
        section.engine.get("max_model_len") or context(config_of("judge", section)),
        None if section.flops is None else int(section.flops),
    )
