"""A language model as judge: it is asked, and its answer is read from the odds of a few tokens.

The score is the mean of the choices' values under the softmax of their logits as the answer's first token, so
a judge gives a number and not only a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.reading import Reading
from orchestrator.errors import BadInput
from orchestrator.formats.definition import FormatFacts, Input
from orchestrator.formats.texts import chat, ids, one_token
from orchestrator.problems.conversation import Turn, begun

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
        if len({*choices.values()}) < 2:
            needed = "needed: two words or more, not all of one value: else each score is the same"
            raise BadInput("verifier.choices", dict(choices), needed)
        self._template = template.replace("{choices}", " or ".join(choices))
        entries: list[str] = []
        for word in choices:
            _, entry = one_token(facts.tokenizer, word, key="verifier.choices", model=facts.model)
            if len(ids(facts.tokenizer, word)) != 1 or entry in entries:
                needed = f"needed: words of one token each, all different, of {facts.model}"
                raise BadInput("verifier.choices", word, needed)
            entries.append(entry)
        self.reading = Reading("expected", tuple(choices.values()), tuple(entries))
        self._check_answer(next(iter(choices)))
        self.overhead = 0 if self.whole else self._words()

    def opening(self, question: str) -> tuple[int, ...]:
        before = self._template.partition("{solution}")[0].replace("{problem}", question)
        return () if self.whole else self._chat(before, reply=False)

    def inputs(self, question: str, steps: Sequence[str], first: int) -> list[Input]:
        counts = [len(steps)] if self.whole else range(first + 1, len(steps) + 1)
        asked = [self._asked(question, steps[:count]) for count in counts]
        return [Input(tokens, (len(tokens),)) for tokens in asked]

    def _asked(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        # In this order: a question may hold the words of the other field.
        before, _, after = self._template.partition("{solution}")
        solution = self._facts.separator.join(steps)
        text = before.replace("{problem}", question) + solution + after.replace("{problem}", question)
        return self._chat(text, reply=True)

    def _chat(self, text: str, *, reply: bool) -> tuple[int, ...]:
        facts = self._facts
        if not getattr(facts.tokenizer, "chat_template", None):
            return begun(facts.tokenizer, text)
        return chat(facts.tokenizer, self._turns(text), reply=reply, model=facts.model)

    def _turns(self, text: str) -> list[Turn]:
        before: list[Turn] = [{"role": "system", "content": self._facts.system}] if self._facts.system else []
        return [*before, {"role": "user", "content": text}]

    def _check_answer(self, word: str) -> None:
        """Raises BadInput where an answer does not begin where the template lets one begin."""
        facts = self._facts
        if not getattr(facts.tokenizer, "chat_template", None):
            return
        answered = [*self._turns("x"), {"role": "assistant", "content": word}]
        whole = chat(facts.tokenizer, answered, reply=False, model=facts.model)
        asked = self._chat("x", reply=True) + ids(facts.tokenizer, word)
        if whole[: len(asked)] != asked:
            needed = "its chat template does not show an answer where it lets one begin"
            raise BadInput("verifier.model", facts.model, needed)

    def _words(self) -> int:
        """Tokens after the solution, at most, which each step's question has."""
        return len(self._chat(self._template.partition("{solution}")[2], reply=True))
