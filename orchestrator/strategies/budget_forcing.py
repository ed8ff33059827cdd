"""Budget forcing for reasoning models: a least and a most of thinking (Muennighoff et al. 2025, s1)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput, at_least
from orchestrator.search.draft import Draft
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies.definition import RunFacts, strategy


def check(
    n: int,
    min_thinking_tokens: int,
    max_thinking_tokens: int,
    max_extensions: int,
    wait: str,
    answer_prefix: str,
) -> None:
    """Raises BadInput unless the lengths are in order and there is a text to go on with."""
    at_least("strategy.n", n, 1)
    at_least("strategy.min_thinking_tokens", min_thinking_tokens, 0)
    at_least("strategy.max_thinking_tokens", max_thinking_tokens, 1)
    at_least("strategy.max_extensions", max_extensions, 0)
    if min_thinking_tokens > max_thinking_tokens:
        most = f"allowed: 0 to strategy.max_thinking_tokens ({max_thinking_tokens})"
        raise BadInput("strategy.min_thinking_tokens", min_thinking_tokens, most)
    if not wait:
        raise BadInput("strategy.wait", wait, "allowed: one or more characters")


def check_run(facts: RunFacts, max_thinking_tokens: int, answer_prefix: str, **others: object) -> None:
    """Raises BadInput unless the longest thinking, the text that cuts it and one token of an answer fit in a
    solution."""
    marker = facts.codec.end_of_thinking
    assert marker is not None
    cut = len(facts.codec.continuation(closing(marker, answer_prefix)))
    most = facts.max_tokens - cut - 1
    if max_thinking_tokens > most:
        raise BadInput(
            "strategy.max_thinking_tokens",
            max_thinking_tokens,
            f"generator.max_tokens is {facts.max_tokens}, and {cut} tokens cut the thinking; "
            f"allowed: {most} or less",
        )


@strategy(check=check, check_run=check_run, needs_thinking=True, begins="solutions")
async def budget_forcing(
    ops: Operations,
    *,
    n: int = 1,
    min_thinking_tokens: int = 512,
    max_thinking_tokens: int = 1024,
    max_extensions: int = 2,
    wait: str = "Wait",
    answer_prefix: str = "\nFinal Answer:",
) -> Sequence[Node]:
    """Writes ``n`` solutions in parallel, whose thinking is forced between two lengths in tokens.

    Thinking that ends before ``min_thinking_tokens`` is extended, at most ``max_extensions`` times: its end
    is suppressed, ``wait`` is written in its place, and it goes on. Thinking that reaches
    ``max_thinking_tokens`` is cut: the marker that ends it and ``answer_prefix`` are written, and the answer
    follows. To suppress the end a fixed number of times, as s1's tables do, set both lengths alike.

    All tokens before the marker count as thinking, each ``wait`` included. No extension is made that would
    leave no token to sample.
    """
    marker = ops.end_of_thinking

    async def forced(draft: Draft) -> None:
        await draft.sample("thought", limit=max_thinking_tokens)
        for _ in range(max_extensions):
            if draft.node.finish == "length" or draft.length >= min_thinking_tokens:
                break
            if not draft.give(wait, limit=max_thinking_tokens):
                break
            await draft.sample("thought", limit=max_thinking_tokens)
        if draft.node.finish == "length":
            draft.give(closing(marker, answer_prefix, draft.text))
        elif draft.node.finish == "end":
            draft.give(marker)
        await draft.sample("end")

    return await ops.write(n, forced, suppressed=max_extensions + 1)


def closing(marker: str, answer_prefix: str, thinking: str = "") -> str:
    """Returns the text that cuts ``thinking``: the marker on a line of its own, and the prefix."""
    return ("" if thinking.endswith("\n") else "\n") + marker + answer_prefix
