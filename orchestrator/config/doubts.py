"""Finds what is allowed and is often a mistake: each doubt is a sentence that names the key to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.budget.flops import optional_file
from orchestrator.budget.units import in_flops
from orchestrator.config.generator import generation_config
from orchestrator.config.lengths import context
from orchestrator.config.model_config import config_of
from orchestrator.config.preparation import Prepared
from orchestrator.config.rendering import decoded, keeps
from orchestrator.config.selection import kept
from orchestrator.config.warnings import warnings_of
from orchestrator.grading.exact import Exact
from orchestrator.grading.math import Math
from orchestrator.grading.registry import resolve
from orchestrator.problems.codec import Codec

THINKING = "</think>"
NEAR = 0.95
"""The share of a context from which a prompt and its longest solution are near to it."""
SHORT = 8
"""A solution that may be so many times longer than the longest answer says more than the answer."""
FOLLOWERS = ("Then", " so", "2", "$x$", "\\[", "- ", "**")
"""Texts that begin steps."""

Doubt = Callable[[Prepared, tuple[str, str]], Iterator[str]]


def doubts(prepared: Prepared, steps: tuple[str, str]) -> list[str]:
    """Returns the doubts about a run; ``steps`` are two steps of an answer to its first problem."""
    return [*warnings_of(prepared), *(line for doubt in DOUBTS for line in doubt(prepared, steps))]


def _chat(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    section, codec = prepared.config.generator, prepared.codec
    tokenizer = codec.tokenizer
    if not section.chat:
        if getattr(tokenizer, "chat_template", None):
            yield "generator.chat is false, and the model has a chat template: it was likely made for chats"
        return
    end = _end_of_turn(codec)
    stops = _stops(prepared)
    if end is None or end in stops or any(decoded(tokenizer, [end]) in text for text in section.stop):
        return
    names = ", ".join(repr(decoded(tokenizer, [stop])) for stop in sorted(stops)) or "none"
    yield (
        f"generator.chat: the template ends an answer with {decoded(tokenizer, [end])!r}, where the model "
        f"does not stop (it stops at {names}): a base model? generator.stop may name it"
    )


def _end_of_turn(codec: Codec) -> int | None:
    """The token that the chat template puts after an answer; None where it puts none."""
    put, said = codec.conversation, "ANSWER"
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": said}]
    template = {"chat_template": put.template} if put.template else {}
    try:
        text = codec.tokenizer.apply_chat_template(turns, tokenize=False, **template, **put.options)
    except Exception:  # it takes no such chat, which is no fault: a run never sends one
        return None
    after = text.rpartition(said)[2].strip()
    tokens = codec.continuation(after) if after else ()
    return tokens[0] if tokens else None


def _stops(prepared: Prepared) -> set[int]:
    """The tokens at which an engine ends a solution: the tokenizer's, and those of the model's files."""
    section = prepared.config.generator
    own = (
        generation_config(section)
        if optional_file(section.model, "generation_config.json", section.revision)
        else config_of("generator", section)
    )
    named = own.get("eos_token_id")
    found = {prepared.codec.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return {token for token in found if isinstance(token, int)}


def _prompts(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    tokenizer, first = prepared.codec.tokenizer, prepared.prompts[0]
    begin = tokenizer.bos_token_id
    if begin is not None and first[:2] == (begin, begin):
        yield f"the prompt begins with {tokenizer.bos_token!r} twice: a template writes it once more"
    again = sum(count - 1 for count in Counter(prepared.prompts).values())
    if again:
        same = "is the same as another" if again == 1 else "are the same as others"
        yield f"{again} of {len(prepared.prompts)} problems {same}: their prompts are equal"


def _thinking(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    section = prepared.config.generator
    if section.end_of_thinking is None and THINKING in prepared.codec.tokenizer.get_vocab():
        yield (
            f"generator.end_of_thinking is null, and the vocabulary has {THINKING}: where the model thinks, "
            "its thoughts are read as part of the solution"
        )


def _delimiter(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    codec, first = prepared.codec, steps[0]
    for delimiter in codec.delimiters:
        shared = []
        for follower in filter(lambda text: keeps(codec, text), FOLLOWERS):
            tokens = codec.continuation(first + delimiter + follower)
            ends = codec.step_ends(tokens, 0)
            rest = decoded(codec.tokenizer, tokens[: ends[0]]).partition(delimiter)[2] if ends else ""
            if rest:
                shared.append(rest)
        if shared:
            yield (
                f"generator.step_delimiter: a token holds {delimiter!r} and what follows it, as "
                f"{delimiter + shared[0]!r}: a step then ends in the next one"
            )
        if keeps(codec, first) and not keeps(codec, f"{first}{delimiter}{first}"):
            yield f"generator.step_delimiter: the tokenizer does not give {delimiter!r} back as it is"


def _stop(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    codec = prepared.codec
    pattern = codec.step_pattern
    for stop in codec.stop:
        held = [delimiter for delimiter in codec.delimiters if delimiter in stop or stop in delimiter]
        if pattern is not None and (match := pattern.search(stop)) is not None:
            held.append(match[0])
        if within := [delimiter for delimiter in held if stop in delimiter]:
            yield (
                f"generator.stop: {stop!r} is in what ends a step, {within[0]!r}: a solution may end at its "
                "first step"
            )
        elif held:
            yield (
                f"generator.stop: {stop!r} holds what ends a step, {held[0]!r}: where steps are sampled, the "
                "step ends first, and the solution goes on"
            )
        elif not stop.strip():
            yield f"generator.stop: {stop!r} is white space alone: a solution ends at the first"


def _lengths(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    section = prepared.config.generator
    longest, new = max(map(len, prepared.prompts)), section.max_tokens
    limit = section.engine.get("max_model_len")
    if limit is None:
        limit = context(config_of("generator", section))
    if limit is None:
        yield "generator.engine.max_model_len is not given, and config.json does not tell the context"
    elif longest + new > NEAR * limit:
        yield (
            f"generator.max_tokens: the longest prompt and solution take {longest + new} tokens of a context "
            f"of {limit}"
        )
    verifier = prepared.verifier
    if verifier is None or verifier.format is None or verifier.limit is None:
        return
    question = prepared.problems[max(range(len(prepared.prompts)), key=lambda i: len(prepared.prompts[i]))]
    opening = len(verifier.format.inputs(question.prompt, [""], 0)[-1].tokens)
    if opening + new > verifier.limit:
        yield (
            f"verifier: its context is {verifier.limit} tokens: the longest problem takes {opening}, "
            f"and generator.max_tokens is {new}: paths that do not fit have no score"
        )


def _answers(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    section, codec = prepared.config.problems, prepared.codec
    checker = resolve(section.answers)
    if isinstance(checker, Exact):
        longest = max((problem.answer for problem in prepared.problems), key=len)
        if SHORT * len(codec.continuation(longest)) < prepared.config.generator.max_tokens:
            yield (
                f"problems.answers=exact takes the whole text of a solution for the answer, as "
                f"{longest[:40]!r}: a solution that says more is wrong; math finds the answer in it"
            )
    if isinstance(checker, Math) and "boxed" not in decoded(codec.tokenizer, prepared.prompts[0]):
        yield (
            "problems.template does not ask for \\boxed{}: the answer of a solution without one is its last "
            "formula or number"
        )


def _choices(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    problems = prepared.problems
    twice = [p.id for p in problems if len({text.strip() for text in p.choices}) < len(p.choices)]
    if twice:
        yield f"{len(twice)} of {len(problems)} problems have a wrong choice twice, such as {twice[0]}"


def _budget(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    strategy, selection = prepared.strategy, prepared.config.selection
    bought = prepared.budget.generations * (1 - selection.share * selection.generative)
    if strategy.name != "best_of_n" or prepared.config.allocation.name != "uniform":
        return
    n = strategy.params["n"]
    if 1 <= bought < n - 1e-9:
        yield (
            f"strategy.n is {n}, and the budget pays for {bought:.3g} solutions a problem at full length: "
            "where solutions are long, fewer are sampled"
        )


def _selection(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    selection = prepared.selection
    if selection is None:
        return
    held = kept(selection.share, min(prepared.budget.shares))
    most = prepared.strategy.params.get("n", selection.candidates)
    group = max(2, min(selection.group, selection.candidates, most))
    asked = len(selection.tokens(prepared.problems[0], ("",) * group))
    if held < (least := selection.cost(asked, selection.writes)):
        yield (
            f"selection.share keeps {in_flops(held)} of a problem's budget, and a question about "
            f"{group} solutions may take {in_flops(least)} before any of their text: it is "
            "asked only where the search leaves enough"
        )


def _dtype(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    config = prepared.config
    pools: list[tuple[str, Any]] = [("generator", config.generator), ("verifier", config.verifier)]
    pools.append(("judge", config.judge))
    for name, pool in pools:
        if pool.model is not None and pool.dtype == "float32" and pool.resources.num_gpus:
            yield f"{name}.dtype is float32: on a GPU bfloat16 takes half of its memory and less time"


def _skipped(prepared: Prepared, steps: tuple[str, str]) -> Iterator[str]:
    if prepared.skipped:
        total = len(prepared.skipped) + len(prepared.problems)
        yield f"{len(prepared.skipped)} of {total} problems are left out: too long for a model"


DOUBTS: tuple[Doubt, ...] = (
    *(
        _chat,
        _prompts,
        _thinking,
        _delimiter,
        _stop,
        _lengths,
        _answers,
        _choices,
        _budget,
        _selection,
        _dtype,
        _skipped,
    ),
)
"""A new one is a function and its name here."""
