"""A language model as judge: it is asked, and its answer is read from the odds of a few tokens.

The score is the mean of the choices' values under the softmax of their logits as the answer's first token, so
a judge gives a number and not only a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput
from orchestrator.formats.closed_question import ClosedQuestion
from orchestrator.formats.definition import FormatFacts, Input

STEP_TEMPLATE = (
    "Problem:\n{problem}\n\nSolution so far:\n{solution}\n\n"
    "Is the last step of this solution correct, given the problem and the steps before it? "
    "Answer with {choices} only."
)
SOLUTION_TEMPLATE = (
    "Problem:\n{problem}\n\nSolution:\n{solution}\n\nIs the final answer of this solution correct? "
    "Answer with {choices} only."
)
CHOICES = {"No": 0.0, "Yes": 1.0}


class Judge:
    """A causal language model that answers a question about a step, or about a whole solution."""

    def __init__(self, facts: FormatFacts) -> None:
        self._facts = facts
        self.whole = bool(facts.whole)
        choices = dict(facts.choices) or CHOICES
        template = facts.template or (SOLUTION_TEMPLATE if self.whole else STEP_TEMPLATE)
        for name in ("{problem}", "{solution}"):
            if name not in template:
                raise BadInput("verifier.template", template, f"it must contain {name}")
        if template.count("{solution}") > 1:
            raise BadInput("verifier.template", template, "it must contain {solution} once")
        if not self.whole and "{problem}" in template.partition("{solution}")[2]:
            needed = "where each step is judged, {problem} comes before {solution}: it is then read once"
            raise BadInput("verifier.template", template, needed)
        self._question = ClosedQuestion("verifier", facts.model, facts.tokenizer, choices, facts.system)
        self.reading = self._question.reading
        self._question.check()
        self._template = template.replace("{choices}", " or ".join(choices))
        self.overhead = 0 if self.whole else self._words()

    def opening(self, question: str) -> tuple[int, ...]:
        before = self._template.partition("{solution}")[0].replace("{problem}", question)
        return () if self.whole else self._question.tokens(before, reply=False)

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        counts = [len(steps)] if self.whole else range(first + 1, len(steps) + 1)
        asked = [self._asked(question, steps[:count]) for count in counts]
        return [Input(tokens, (len(tokens),)) for tokens in asked]

    def _asked(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        # In this order: a question may hold the words of the other field.
        before, _, after = self._template.partition("{solution}")
        solution = self._facts.separator.join(steps)
        text = before.replace("{problem}", question) + solution + after.replace("{problem}", question)
        return self._question.tokens(text)

    def _words(self) -> int:
        """Tokens after the solution, at most, which each step's question has."""
        return len(self._question.tokens(self._template.partition("{solution}")[2]))
