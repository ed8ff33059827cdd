"""Trains the generators: next-token loss on the solutions of new puzzles of the ``train`` split."""

from __future__ import annotations

from collections.abc import Callable
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
from orchestrator.lab.muon import muon_and_adamw
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.tokenizer import EOS_ID, PROMPT_END_ID, grid_tokens
from orchestrator.problems.lab import PROMPT_TOKENS
from orchestrator.verifiers.config import Schedule
from orchestrator.verifiers.training import RESUME_FILE, Track, fit


@dataclass(frozen=True, slots=True)
class GeneratorRecipe:
    """The settings of a generator's training. With the same seed, all sizes read the same data in the same
    order."""

    size: str = "s"
    """A key of ``model.SIZES``."""
    steps: int = 2100
    batch: int = 64
    """Puzzles a step."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon: the matrices of the layers."""
    adam_lr: float = 3e-3
    """Peak learning rate of AdamW: embeddings, head, norms and biases."""
    decay: float = 0.4
    """Share of the steps, the last ones, in which the rates fall to 0."""
    base: str | None = None
    """A smaller generator whose trained weights it starts from, with new layers on top. It reads the first
    ``steps`` batches of that one's data a second time."""


def training_batch(seed: int, step: int, batch: int) -> Tensor:
    """Returns the token ids of step ``step``, int64[batch, 84]: prompt and solution of puzzles new in it."""
    puzzles, solutions = puzzle_arrays("train", seed, step * batch, batch)
    tokens = [grid_tokens(puzzles, PROMPT_END_ID), grid_tokens(solutions, EOS_ID)]
    return torch.from_numpy(np.concatenate(tokens, axis=1))


def train_generator(
    out: Path,
    recipe: GeneratorRecipe,
    seed: int,
    minutes: float | None = None,
    log: Callable[[str], None] = print,
    track: Track = lambda metrics: None,
    base: Path | None = None,
) -> list[float]:
    """Trains a generator and writes a model directory to ``out``; returns the losses of this call's steps.

    The weights depend on (recipe, seed) alone, and on the model in ``base`` if the recipe starts from one.
    Stops early after ``minutes``; a second call continues from ``out``/training.pt.
    """
    if base is None:
        model = new_generator(recipe.size, seed)
    else:
        smaller = load_generator(base)
        model = deepened(smaller, SIZES[recipe.size][1] - smaller.config.num_hidden_layers, seed)
    size = parameter_count(model)
    log(f"generator {recipe.size}: {size} parameters, {recipe.steps} steps of {recipe.batch}")

    def loss_of(step: int) -> list[Tensor]:
        tokens = training_batch(seed, step, recipe.batch)
        hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, PROMPT_TOKENS - 1 :])
        return [F.cross_entropy(logits.flatten(0, 1), tokens[:, PROMPT_TOKENS:].flatten())]

    fitted = fit(
        model,
        muon_and_adamw(model, recipe.muon_lr, recipe.adam_lr),
        loss_of,
        Schedule(recipe.steps, decay=recipe.decay),
        out,
        f"{recipe}, seed {seed}",
        minutes=minutes,
        log=log,
        track=track,
    )
    save_generator(model, out)
    if fitted.finished:
        (out / RESUME_FILE).unlink(missing_ok=True)
    return fitted.losses
