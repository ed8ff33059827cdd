"""Training of the generator: next-token loss on the solutions of fresh puzzles of the ``train`` split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from orchestrator.lab.model import (
    SIZES,
    deepened,
    load_generator,
    new_generator,
    parameter_count,
    save_generator,
)
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.tokenizer import EOS_ID, PROMPT_END_ID, grid_tokens
from orchestrator.lab.training import LOG, Log, Schedule, fit, muon_and_adamw
from orchestrator.problems.lab import PROMPT_TOKENS

RESUME_FILE = "training.pt"


@dataclass(frozen=True, slots=True)
class GeneratorRecipe:
    """How a generator is trained. Siblings of other sizes, with the same seed, read the same data.

    One with a ``base``, another size, begins as that one's trained weights with new layers on top, and reads
    the first ``steps`` batches of its data a second time. ``decay``: the share of steps in which the rates
    fall to 0.
    """

    size: str = "s"
    steps: int = 2100
    batch: int = 64
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    decay: float = 0.4
    base: str | None = None


def training_batch(seed: int, step: int, batch: int) -> Tensor:
    """Token ids int64[batch, 84] of step ``step``: prompt and solution, never seen before in this stream."""
    puzzles, solutions = puzzle_arrays("train", seed, step * batch, batch)
    tokens = [grid_tokens(puzzles, PROMPT_END_ID), grid_tokens(solutions, EOS_ID)]
    return torch.from_numpy(np.concatenate(tokens, axis=1))


def train_generator(
    out: Path,
    recipe: GeneratorRecipe,
    seed: int,
    minutes: float | None = None,
    log: Log = LOG,
    base: Path | None = None,
) -> list[float]:
    """Train from (recipe, seed), and the directory ``base`` where the recipe has one, and write a Hugging
    Face directory to ``out``; returns the losses.

    Stops early after ``minutes``; a second call continues from ``out``/training.pt.
    """
    if base is None:
        model = new_generator(recipe.size, seed)
    else:
        smaller = load_generator(base)
        model = deepened(smaller, SIZES[recipe.size][1] - smaller.config.num_hidden_layers, seed)
    size = parameter_count(model)
    log(f"generator {recipe.size}: {size} parameters, {recipe.steps} steps of {recipe.batch}")

    def loss_of(step: int) -> Tensor:
        tokens = training_batch(seed, step, recipe.batch)
        hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, PROMPT_TOKENS - 1 :])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, PROMPT_TOKENS:].flatten())

    model.train()
    identity = f"{recipe}, seed {seed}"
    optimizers = muon_and_adamw(model, recipe.muon_lr, recipe.adam_lr)
    losses = fit(
        model,
        optimizers,
        loss_of,
        Schedule(recipe.steps, decay=recipe.decay),
        out / RESUME_FILE,
        identity,
        minutes,
        log,
    )
    save_generator(model, out)
    return losses
