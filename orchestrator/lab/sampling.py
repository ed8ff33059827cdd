"""Samples and scores in plain torch, for training and evaluation without an engine.

All prompts of the task have the same length, so batches need no padding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM

from orchestrator.lab.tokenizer import EOS_ID, PAD_ID
from orchestrator.problems.lab import SOLUTION_TOKENS
from orchestrator.verifiers.model import scores

_ROWS = 128  # sequences at once: with more, the cache is copied from memory at every token


@torch.inference_mode()
def sample(model: Qwen2ForCausalLM, prompts: Tensor, n: int, seed: int, temperature: float = 1.0) -> Tensor:
    """Samples ``n`` solutions of each prompt: int64[problems, n, 42] from int64[problems, prompt length].

    Padding follows the end-of-sequence token. A solution that has not ended after 42 tokens, as a well-formed
    one has, is cut there. ``temperature`` must be positive.
    """
    # Drawn in advance, so that a sample does not depend on which others share its batch.
    random = torch.rand(prompts.shape[0], n, SOLUTION_TOKENS, generator=torch.Generator().manual_seed(seed))
    at_once = max(1, _ROWS // n)
    batches = zip(prompts.split(at_once), random.split(at_once), strict=True)
    return torch.cat([_sample(model, some, draws, temperature) for some, draws in batches])


def _sample(model: Qwen2ForCausalLM, prompts: Tensor, random: Tensor, temperature: float) -> Tensor:
    """Samples as ``sample`` does, from uniform random numbers [problems, n, 42]."""
    n = random.shape[1]
    random = random.flatten(0, 1)
    cache = DynamicCache(config=model.config)
    logits = model(input_ids=prompts, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    cache.batch_repeat_interleave(n)
    logits = logits.repeat_interleave(n, 0)
    rows = torch.full((logits.shape[0], SOLUTION_TOKENS), PAD_ID)
    ended = torch.zeros(logits.shape[0], dtype=torch.bool)
    for position in range(SOLUTION_TOKENS):
        cumulative = (logits / temperature).softmax(-1).cumsum(-1)
        # Scaled to the sum, which rounding may leave a little below 1.
        drawn = random[:, position, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
        rows[:, position] = torch.where(ended, PAD_ID, token)
        ended |= token == EOS_ID
        if position + 1 < SOLUTION_TOKENS:
            out = model(input_ids=token[:, None], past_key_values=cache, use_cache=True)
            logits = out.logits[:, -1]
    return rows.view(prompts.shape[0], n, SOLUTION_TOKENS)


@torch.inference_mode()
def score(model: Any, prompts: Tensor, solutions: Tensor) -> Tensor:
    """Returns a verifier's score in [0, 1] of every solution token: float32[problems, n, 42].

    ``prompts`` is int64[problems, prompt length], ``solutions`` is int64[problems, n, 42].
    """
    problems, n, length = solutions.shape
    tokens = torch.cat([prompts[:, None].expand(-1, n, -1), solutions], dim=2).flatten(0, 1)
    parts = [scores(model, part)[:, -length:] for part in tokens.split(_ROWS)]
    return torch.cat(parts).view(problems, n, length)
