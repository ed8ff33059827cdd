"""Training of the verifier: is the solution so far a prefix of the answer?

The puzzle's solution is unique, so whether a prefix is right is exact, and every solution token has a label.
Half of each batch are the generator's own samples, half are solutions with errors put in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM

from orchestrator.lab.model import (
    RewardModel,
    load_generator,
    new_reward_model,
    parameter_count,
    residual_rms,
    save_reward_model,
)
from orchestrator.lab.sampling import sample
from orchestrator.lab.task import ORDER, PROMPT_TOKENS, puzzle_arrays
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, PROMPT_END_ID, grid_tokens
from orchestrator.lab.train_generator import RESUME_FILE
from orchestrator.lab.training import LOG, Log, Schedule, fit

_TRUE_SHARE = 0.25  # of the synthetic half: solutions left as they are
_CELL_WEIGHT = 0.5  # of the auxiliary loss


@dataclass(frozen=True, slots=True)
class VerifierRecipe:
    """How a verifier is trained: ``extra_layers`` new layers over the frozen generator, on ``samples``
    solutions of the generator for each of ``puzzles`` puzzles, and as many synthetic solutions."""

    extra_layers: int = 3
    steps: int = 1650
    batch: int = 96
    lr: float = 2e-3
    puzzles: int = 16000
    samples: int = 4


class _Trained(nn.Module):
    """The reward model with a head that says whether a cell is right; the head is dropped afterwards."""

    def __init__(self, reward: RewardModel, hidden: int) -> None:
        super().__init__()
        self.reward = reward
        self.cell = nn.Linear(hidden, 1)


def train_verifier(
    out: Path,
    generator: Path,
    recipe: VerifierRecipe,
    seed: int,
    minutes: float | None = None,
    log: Log = LOG,
) -> list[float]:
    """Train on the samples of the generator in directory ``generator``; write to ``out``; return the losses.

    A function of (generator, recipe, seed). Stops early after ``minutes`` (sampling not counted); a second
    call continues from ``out``/training.pt. ``BadInput`` if there is no generator.
    """
    base = load_generator(generator)
    # Streams of the train split other than the generator's own (seed): new puzzles.
    prompts, truths, samples = own_samples(base, recipe, seed + 1)
    share = (samples == truths[:, None]).all(-1).float().mean()
    log(f"{samples.shape[0] * samples.shape[1]} samples of the generator, {share:.3f} correct")
    rms = residual_rms(base, torch.cat([prompts, truths], dim=1)[:64])
    reward = new_reward_model(base, recipe.extra_layers, seed, scale=2.0 ** round(math.log2(rms)))
    trained = _Trained(reward, base.config.hidden_size)
    count = sum(p.numel() for p in reward.parameters() if p.requires_grad)
    size = parameter_count(reward)
    log(f"verifier: {size} parameters, {count} trained, {recipe.steps} steps of {recipe.batch}")

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        half = recipe.batch // 2
        which = torch.from_numpy(rng.integers(0, prompts.shape[0], half))
        pick = torch.from_numpy(rng.integers(0, recipe.samples, half))
        fake_prompt, fake_truth, fake = synthetic_batch(seed + 2, step, recipe.batch - half, rng)
        prompt = torch.cat([prompts[which], fake_prompt])
        truth = torch.cat([truths[which], fake_truth])
        solution = torch.cat([samples[which, pick], fake])
        return _loss(trained, prompt, solution, truth)

    reward.train()
    identity = f"{recipe}, seed {seed}, generator {generator.name}"
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = Schedule(recipe.steps, decay=0.5)
    losses = fit(trained, [optimizer], loss_of, schedule, out / RESUME_FILE, identity, minutes, log)
    save_reward_model(reward, out)
    return losses


def prefix_labels(solutions: Tensor, truths: Tensor) -> Tensor:
    """bool, shape of ``solutions`` [..., 42]: every token up to and including this one is the answer's."""
    return (solutions == truths).long().cumprod(-1).bool()


def _loss(model: _Trained, prompt: Tensor, solution: Tensor, truth: Tensor) -> Tensor:
    """Mean over solution tokens (not padding) of the prefix loss and the weighted cell loss."""
    tokens = torch.cat([prompt, solution], dim=1)
    hidden = model.reward.model(input_ids=tokens, use_cache=False).last_hidden_state[:, PROMPT_TOKENS:]
    here = solution != PAD_ID
    labels = prefix_labels(solution, truth)[here].long()
    cells = (solution == truth)[here].float()
    prefix_loss = F.cross_entropy(model.reward.score(hidden[here]), labels)
    cell_loss = F.binary_cross_entropy_with_logits(model.cell(hidden[here])[:, 0], cells)
    return prefix_loss + _CELL_WEIGHT * cell_loss


def own_samples(base: Qwen2ForCausalLM, recipe: VerifierRecipe, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The generator's samples on new puzzles: prompts [puzzles, 42], truths [puzzles, 42],
    samples [puzzles, samples, 42], all int64 token ids."""
    puzzles, solutions = puzzle_arrays("train", seed, 0, recipe.puzzles)
    prompts = torch.from_numpy(grid_tokens(puzzles, PROMPT_END_ID))
    truths = torch.from_numpy(grid_tokens(solutions, EOS_ID))
    return prompts, truths, sample(base, prompts, recipe.samples, seed)


def synthetic_batch(
    seed: int, step: int, count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """New puzzles with solutions into which errors were put: (prompts, truths, solutions), each
    [count, 42]."""
    puzzles, truths = puzzle_arrays("train", seed, step * count, count)
    wrong = truths.copy()
    for puzzle, solution in zip(puzzles, wrong, strict=True):
        if rng.random() >= _TRUE_SHARE:
            for _ in range(rng.integers(1, 4)):
                put_error(puzzle, solution, rng)
    tokens = [grid_tokens(puzzles, PROMPT_END_ID), grid_tokens(truths, EOS_ID), grid_tokens(wrong, EOS_ID)]
    prompt, truth, solution = (torch.from_numpy(array) for array in tokens)
    return prompt, truth, solution


def put_error(puzzle: npt.NDArray[np.int8], solution: npt.NDArray[np.int8], rng: np.random.Generator) -> None:
    """Change ``solution`` (int8[36]) in place at a cell that is blank in ``puzzle``.

    Half the time two blanks of a row change places, which only columns can show; else one cell gets
    another symbol.
    """
    blanks = np.flatnonzero(puzzle == 0)
    cell = rng.choice(blanks)
    mates = blanks[(blanks // ORDER == cell // ORDER) & (blanks != cell)]
    if len(mates) and rng.random() < 0.5:
        mate = rng.choice(mates)
        solution[cell], solution[mate] = solution[mate], solution[cell]
    else:
        solution[cell] = (solution[cell] - 1 + rng.integers(1, ORDER)) % ORDER + 1
