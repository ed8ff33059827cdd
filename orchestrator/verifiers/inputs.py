"""What a verifier in training reads of each solution, with no work done twice.

What all solutions begin with, such as a chat's examples, is read once in a pass, since attention is causal.
What layers that are not trained find is computed once in a training, where memory holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orchestrator.verifiers.frozen import frozen_layers, frozen_part, trained_part
from orchestrator.verifiers.label import LabelledSolution
from orchestrator.verifiers.model import logits

MOST_BYTES = 4 * 2**30
"""The most memory for what the frozen layers found; where it takes more, they are computed in each pass."""
TOKENS = 4096
"""Tokens in a pass of the frozen layers, about."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of ``model`` for some rows: what all begin with, and the rest of each.

    They are token ids, int64[length]; or what the frozen layers made of them, float32[length, hidden size],
    and then ``model`` is the other layers.
    """

    model: Any
    shared: Tensor
    rests: Sequence[Tensor]

    @classmethod
    def of(cls, model: Any, rows: Sequence[LabelledSolution], *, change: bool = False) -> Inputs:
        """Returns the inputs of a verifier; they are all token ids where each pass will ``change`` them."""
        tokens = [torch.tensor(row.tokens) for row in rows]
        length = 0 if change else _shared_length(rows)
        shared, rests = tokens[0][:length], [row[length:] for row in tokens]
        size = 4 * model.config.hidden_size * (length + sum(map(len, rests)))
        if change or not frozen_layers(model) or size > MOST_BYTES:
            return cls(model, shared, rests)
        return cls(trained_part(model), *_found(frozen_part(model).eval(), shared, rests))

    def logits(
        self, which: Sequence[int], change: Callable[[Tensor], Tensor] = lambda inputs: inputs
    ) -> Tensor:
        """Returns the logits of the rows ``which``, padded at the end: float[n, longest rest].

        The first one is that of the first position after what all rows share. ``change`` is applied to the
        inputs, padded with 0, before they are read.
        """
        padded = change(pad_sequence([self.rests[i] for i in which], batch_first=True)).to(self.model.device)
        cache = _cache(self.model.base_model, self.shared.to(self.model.device), len(which))
        return logits(self.model, **_named(padded), past_key_values=cache)


def _shared_length(rows: Sequence[LabelledSolution]) -> int:
    """Returns the number of tokens that all rows begin with, short of the first one that has a label."""
    first, last = min(row.tokens for row in rows), max(row.tokens for row in rows)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return min([same, *(row.step_ends[0] - 1 for row in rows)])


def _named(inputs: Tensor) -> dict[str, Tensor]:
    return {"inputs_embeds": inputs} if inputs.is_floating_point() else {"input_ids": inputs}


def _cache(base: Any, shared: Tensor, count: int) -> Any:
    """Returns the keys and values of what is shared, for ``count`` rows that follow it; None of nothing."""
    if not len(shared):
        return None
    cache = base(**_named(shared[None]), use_cache=True).past_key_values
    cache.batch_repeat_interleave(count)
    return cache


@torch.inference_mode()
def _found(frozen: Any, shared: Tensor, rests: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Returns what the frozen layers make of what is shared, and of each rest, in main memory."""

    def states(tokens: Tensor, cache: Any) -> Tensor:
        read = frozen(input_ids=tokens.to(frozen.device), past_key_values=cache, use_cache=False)
        return read.last_hidden_state.float().cpu()

    order = sorted(range(len(rests)), key=lambda i: len(rests[i]))
    found: dict[int, Tensor] = {}
    while order:
        batch = order[: max(1, TOKENS // max(1, len(rests[order[0]])))]
        order = order[len(batch) :]
        cache = _cache(frozen, shared.to(frozen.device), len(batch))
        read = states(pad_sequence([rests[i] for i in batch], batch_first=True), cache)
        found |= {i: read[k, : len(rests[i])].clone() for k, i in enumerate(batch)}
    begun = states(shared[None], None)[0] if len(shared) else read[0, :0]
    return begun, [found[i] for i in range(len(rests))]
