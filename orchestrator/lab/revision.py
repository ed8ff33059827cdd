"""Builds the reviser's context in tokens, and samples chains of revisions in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from orchestrator.lab.sampling import sample
from orchestrator.lab.tokenizer import EOS_ID, IDS, PAD_ID
from orchestrator.problems.lab import MAX_ATTEMPTS, REVISION_SEPARATOR, SOLUTION_TOKENS

SEPARATOR_ID = IDS[REVISION_SEPARATOR]


def revision_tokens(prompts: Tensor, attempts: Tensor) -> Tensor:
    """Returns the token ids of ``problems.lab.revision_prompt``: int64[n, 42 * k + 42].

    ``prompts`` is int64[n, 42]; ``attempts`` is int64[n, k, 42], k <= 4, oldest first. The attempts are
    well-formed: the separator replaces the end-of-sequence token of each.
    """
    kept = attempts.clone()
    kept[..., -1] = SEPARATOR_ID
    return torch.cat([kept.flatten(1), prompts], dim=1)


def well_formed(attempts: Tensor) -> Tensor:
    """Returns bool[...] of attempts [..., 42]: True where one ends at its 42nd token, after 41 characters."""
    return attempts[..., -1] == EOS_ID


def sample_chains(
    model: Qwen2ForCausalLM, prompts: Tensor, length: int, seed: int, temperature: float = 1.0
) -> Tensor:
    """Samples a chain of ``length`` attempts for each prompt: int64[n, length, 42] from int64[n, 42].

    An attempt is sampled with the chain's last 4 well-formed attempts in its context.
    """
    chains = torch.full((prompts.shape[0], length, SOLUTION_TOKENS), PAD_ID)
    context = torch.full((prompts.shape[0], MAX_ATTEMPTS, SOLUTION_TOKENS), PAD_ID)
    held = torch.zeros(prompts.shape[0], dtype=torch.long)  # attempts in the context, at its end
    for turn in range(length):
        for count in held.unique().tolist():
            rows = held == count
            tokens = revision_tokens(prompts[rows], context[rows, MAX_ATTEMPTS - count :])
            draws = (seed * length + turn) * (MAX_ATTEMPTS + 1) + count
            chains[rows, turn] = sample(model, tokens, 1, draws, temperature)[:, 0]
        new = well_formed(chains[:, turn])
        context[new] = torch.cat([context[new, 1:], chains[new, turn, None]], dim=1)
        held = (held + new).clamp_max(MAX_ATTEMPTS)
    return chains
