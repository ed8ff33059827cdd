"""Samples and scores in plain torch, for training and evaluation without an engine.

Prompts of the same length make a batch, so batches need no padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM

from orchestrator.lab.tokenizer import EOS_ID, PAD_ID
from orchestrator.problems.lab import SOLUTION_TOKENS
from orchestrator.verifiers.model import scores

_ROWS = 128  # sequences at once: with more, the cache is copied from memory at every token


@torch.inference_mode()
def sample(
    model: Qwen2ForCausalLM,
    prompts: Sequence[Tensor] | Tensor,
    n: int,
    seed: int,
    temperature: float = 1.0,
    tokens: int = SOLUTION_TOKENS,
) -> Tensor:
    """Samples ``n`` solutions of each prompt (int64[prompt length]): int64[problems, n, tokens].

    Padding follows the end-of-sequence token. A solution that has not ended after ``tokens`` tokens is cut
    there. ``temperature`` must be positive.
    """
    # Drawn in advance, so that a sample does not depend on which others share its batch.
    random = torch.rand(len(prompts), n, tokens, generator=torch.Generator().manual_seed(seed))
    rows = torch.full((len(prompts), n, tokens), PAD_ID)
    for some in _alike(prompts, max(1, _ROWS // n)):
        rows[some] = _sample(model, torch.stack([prompts[i] for i in some]), random[some], temperature)
    return rows


def _alike(prompts: Sequence[Tensor] | Tensor, at_once: int) -> Iterator[list[int]]:
    """Yields the places of up to ``at_once`` prompts of one length, until all have been."""
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(i)
    for places in by_length.values():
        for start in range(0, len(places), at_once):
            yield places[start : start + at_once]


def _sample(model: Qwen2ForCausalLM, prompts: Tensor, random: Tensor, temperature: float) -> Tensor:
    """Samples as ``sample`` does, from uniform random numbers [problems, n, tokens]."""
    n, tokens = random.shape[1:]
    random = random.flatten(0, 1)
    cache = DynamicCache(config=model.config)
    logits = model(input_ids=prompts, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    cache.batch_repeat_interleave(n)
    logits = logits.repeat_interleave(n, 0)
    rows = torch.full((logits.shape[0], tokens), PAD_ID)
    ended = torch.zeros(logits.shape[0], dtype=torch.bool)
    for position in range(tokens):
        cumulative = (logits / temperature).softmax(-1).cumsum(-1)
        # Scaled to the sum, which rounding may leave a little below 1.
        drawn = random[:, position, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
        rows[:, position] = torch.where(ended, PAD_ID, token)
        ended |= token == EOS_ID
        if ended.all():
            break
        if position + 1 < tokens:
            out = model(input_ids=token[:, None], past_key_values=cache, use_cache=True)
            logits = out.logits[:, -1]
    return rows.view(prompts.shape[0], n, tokens)


@torch.inference_mode()
def score(model: Any, prompts: Sequence[Tensor] | Tensor, solutions: Tensor) -> Tensor:
    """Returns a verifier's score in [0, 1] of every solution token: float32[problems, n, tokens].

    ``prompts`` are int64[prompt length], ``solutions`` is int64[problems, n, tokens]; the score of padding
    means nothing.
    """
    n = solutions.shape[1]
    found = torch.zeros(solutions.shape)
    for some in _alike(prompts, max(1, _ROWS // n)):
        length = int((solutions[some] != PAD_ID).sum(-1).max())
        begun = torch.stack([prompts[i] for i in some])[:, None].expand(-1, n, -1)
        inputs = torch.cat([begun, solutions[some, :, :length]], dim=2).flatten(0, 1)
        parts = [scores(model, part)[:, -length:] for part in inputs.split(_ROWS)]
        found[some, :, :length] = torch.cat(parts).view(len(some), n, length)
    return found
