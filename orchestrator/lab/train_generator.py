"""Trains the generators: next-token loss on the solutions of new problems of the ``train`` split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
from orchestrator.lab.tasks import TASKS
from orchestrator.verifiers.config import Schedule
from orchestrator.verifiers.training import RESUME_FILE, Track, fit


@dataclass(frozen=True, slots=True)
class GeneratorRecipe:
    """The settings of a generator's training. With the same seed, all sizes read the same data in the same
    order."""

    task: str = "lab"
    """A key of ``tasks.TASKS``."""
    size: str = "s"
    """A key of ``model.SIZES``."""
    steps: int = 2100
    batch: int = 64
    """Problems a step."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon: the matrices of the layers."""
    adam_lr: float = 3e-3
    """Peak learning rate of AdamW: embeddings, head, norms and biases."""
    decay: float = 0.4
    """Share of the steps, the last ones, in which the rates fall to 0."""
    base: str | None = None
    """A smaller generator whose trained weights it starts from, with new layers on top. It reads the first
    ``steps`` batches of that one's data a second time."""


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
    task = TASKS[recipe.task]
    if base is None:
        model = new_generator(recipe.size, seed, task.vocabulary)
    else:
        smaller = load_generator(base)
        model = deepened(smaller, SIZES[recipe.size][1] - smaller.config.num_hidden_layers, seed)
    size = parameter_count(model)
    log(f"generator {recipe.size}: {size} parameters, {recipe.steps} steps of {recipe.batch}")

    def loss_of(step: int) -> Iterator[Tensor]:
        parts = task.examples(seed, step, recipe.batch)
        count = sum(int(part.solution.sum()) for part in parts)
        for part in parts:
            hidden = model.model(input_ids=part.tokens[:, :-1], use_cache=False).last_hidden_state
            written = part.solution[:, 1:]
            logits = model.lm_head(hidden[written])
            yield F.cross_entropy(logits, part.tokens[:, 1:][written], reduction="sum") / count

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
    save_generator(model, out, task.vocabulary)
    if fitted.finished:
        (out / RESUME_FILE).unlink(missing_ok=True)
    return fitted.losses
