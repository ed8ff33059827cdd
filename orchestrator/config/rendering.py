"""Shows what models read as text: a prompt, and an example answer as the verifier is shown it.

Special tokens stand there by name, and a mark follows each token at which a score is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.config.preparation import Prepared
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.search.tree import Node
from orchestrator.search.verifier_view import VerifierView, view_of

MARK = "⟦score⟧"
"""Stands where a score is read."""
PROSE = ("The first step of a solution.", "The answer is {answer}.")
LONGEST = 60
"""Characters of an answer that the example says."""


def visible(tokenizer: Any, tokens: Sequence[int], reads: Sequence[int] = ()) -> str:
    """Returns the text of tokens, with special tokens, and ``MARK`` before each position of ``reads``."""
    text = decoded(tokenizer, tokens)
    for read in sorted(reads, reverse=True):
        # A character that is not whole yet does not count: its other tokens come after the mark.
        at = len(decoded(tokenizer, tokens[:read]).rstrip("\ufffd"))
        text = text[:at] + MARK + text[at:]
    return text


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Returns the text of tokens as it is, with special tokens."""
    return tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def specials(tokenizer: Any) -> tuple[str, ...]:
    """Returns the texts of the tokenizer's special tokens, the longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {str(token) for token in added if token.special} | {*tokenizer.all_special_tokens}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def example_steps(codec: Codec, problem: Problem, solution: str | None = None) -> tuple[str, str]:
    """Returns two steps that end in the problem's answer, of words that the generator's vocabulary has.

    They are the first and the last one of a ``solution``, where there is one with several. An answer that has
    steps of its own gives its first two.
    """
    known = solution if solution is not None and keeps(codec, solution) else ""
    for delimiter in codec.delimiters:
        steps = [step.strip() for step in known.split(delimiter) if step.strip()]
        if len(steps) > 1:
            return steps[0], steps[-1]
    answer = problem.answer.strip()
    for delimiter in codec.delimiters:
        first, _, rest = answer.partition(delimiter)
        if first.strip() and rest.strip():
            return first.strip(), rest.strip().partition(delimiter)[0]
    prose = PROSE[0], PROSE[1].replace("{answer}", rf"\boxed{{{answer[:LONGEST]}}}")
    if all(keeps(codec, text) for text in prose):
        return prose
    half = max(1, min(len(answer), 2 * LONGEST) // 2)
    return answer[:half], answer[half : 2 * half] or answer[:half]


def keeps(codec: Codec, text: str) -> bool:
    """Tells whether the tokenizer gives a text back as it was."""
    return codec.decode(codec.continuation(text)).strip() == text.strip()


def verifier_inputs(prepared: Prepared, steps: tuple[str, str]) -> tuple[str, ...]:
    """Returns what the verifier is shown for the scores of an answer of two steps to the first problem."""
    assert prepared.verifier is not None
    codec, prompt = prepared.codec, prepared.prompts[0]
    tokens = prompt + codec.continuation(codec.separator.join(steps))
    node = Node("0", tokens, codec.step_ends(tokens, len(prompt)), finish="end", finished=True)
    tokenizer, shown = prepared.verifier.tokenizer, prepared_view(prepared, 0).shown(node)
    if prepared.verifier.function is not None:
        return tuple("\n".join(each.input.texts) + MARK for each in shown)
    return tuple(visible(tokenizer, each.input.tokens, each.input.reads) for each in shown)


def prepared_view(prepared: Prepared, index: int) -> VerifierView:
    """Returns how the verifier is shown the paths of the problem at an index."""
    assert prepared.verifier is not None
    section = prepared.config.verifier
    return view_of(
        prepared.problems[index],
        prepared.prompts[index],
        prepared.codec,
        prepared.verifier.costs,
        prepared.verifier.format,
        whole=section.kind == "orm",
        ratio=section.token_ratio,
        limit=prepared.verifier.limit,
    )
