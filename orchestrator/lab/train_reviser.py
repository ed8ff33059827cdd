"""Trains the reviser: it starts from the generator and writes a puzzle's answer after some earlier attempts.

The recipe is that of Snell et al. 2024, section 6.1 and appendix H: contexts hold 0 to 4 incorrect attempts,
each number equally often, and the last attempt is the closest to the answer by edit distance. The loss covers
the answer alone.

The reviser has layers beyond the generator's: one of the generator's size stayed below the generator's
accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM

from orchestrator.lab.model import deepened, load_generator, parameter_count, save_generator
from orchestrator.lab.muon import muon_and_adamw
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.revision import revision_tokens, well_formed
from orchestrator.lab.sampling import sample
from orchestrator.lab.tasks import TASKS
from orchestrator.lab.tokenizer import EOS_ID, PROMPT_END_ID, grid_tokens
from orchestrator.problems.lab import MAX_ATTEMPTS, SOLUTION_TOKENS
from orchestrator.verifiers.config import Schedule
from orchestrator.verifiers.training import RESUME_FILE, Track, fit

SAMPLES_FILE = "samples.pt"


@dataclass(frozen=True, slots=True)
class ReviserRecipe:
    """The settings of a reviser's training."""

    steps: int = 2000
    batch: int = 60
    """Rows a step: a multiple of 5, as many for each number of attempts."""
    lr: float = 1.5e-3
    """Peak learning rate of AdamW: embeddings, head, norms and biases."""
    muon_lr: float = 0.01
    """Peak learning rate of Muon: the matrices of the layers."""
    decay: float = 0.4
    """Share of the steps, the last ones, in which the rates fall to 0."""
    puzzles: int = 8000
    """Puzzles whose incorrect samples are the contexts' attempts."""
    samples: int = 8
    """Samples of the generator for each of those puzzles."""
    extra_layers: int = 3
    """New layers on top of the generator's."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """``n`` samples of the generator for each of ``p`` puzzles, in token ids."""

    prompts: Tensor
    """int64[p, 42]"""
    answers: Tensor
    """int64[p, 42]"""
    attempts: Tensor
    """int64[p, n, 42]"""
    wrong: npt.NDArray[np.bool_]
    """bool[p, n]: the attempt is well-formed and incorrect."""
    distances: npt.NDArray[np.int16]
    """int16[p, n]: edit distance from the attempt to the answer, in characters."""

    @classmethod
    def of(cls, prompts: Tensor, answers: Tensor, attempts: Tensor) -> Attempts:
        """Returns the attempts with what is computed from them."""
        flat = attempts.flatten(0, 1).numpy()
        targets = answers.repeat_interleave(attempts.shape[1], 0).numpy()
        shape = attempts.shape[:2]
        distances = edit_distances(flat, targets).reshape(shape)
        wrong = well_formed(attempts).numpy() & (distances > 0)
        return cls(prompts, answers, attempts, wrong, distances)


def train_reviser(
    out: Path,
    generator: Path,
    recipe: ReviserRecipe,
    seed: int,
    minutes: float | None = None,
    log: Callable[[str], None] = print,
    track: Track = lambda metrics: None,
) -> list[float]:
    """Trains a reviser from the generator in directory ``generator`` and writes a model directory to ``out``.

    The weights depend on (generator, recipe, seed) alone. Stops early after ``minutes`` (the sampling is not
    counted); a second call continues from the files in ``out``. Returns the losses of this call's steps.
    Raises ``BadInput`` if there is no generator.
    """
    base = load_generator(generator)
    identity = f"{recipe}, seed {seed}, generator {generator.name}"
    pool = _sampled_once(out / SAMPLES_FILE, identity, base, recipe, seed)
    log(f"{pool.wrong.size} samples of the generator, {pool.wrong.mean():.3f} incorrect")
    reviser = deepened(base, recipe.extra_layers, seed)
    log(f"reviser: {parameter_count(reviser)} parameters, {recipe.steps} steps of {recipe.batch}")

    def loss_of(step: int) -> list[Tensor]:
        batches = revision_batches(pool, recipe, seed, step)
        return [torch.stack([batch_loss(reviser, batch) for batch in batches]).mean()]

    fitted = fit(
        reviser,
        muon_and_adamw(reviser, recipe.muon_lr, recipe.lr),
        loss_of,
        Schedule(recipe.steps, decay=recipe.decay),
        out,
        identity,
        minutes=minutes,
        log=log,
        track=track,
    )
    save_generator(reviser, out)
    if fitted.finished:
        (out / RESUME_FILE).unlink(missing_ok=True)
        (out / SAMPLES_FILE).unlink(missing_ok=True)
    return fitted.losses


def _sampled_once(
    path: Path, identity: str, generator: Qwen2ForCausalLM, recipe: ReviserRecipe, seed: int
) -> Attempts:
    """Samples the generator, or reads from ``path`` what an earlier call of this training sampled."""
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["identity"] == identity:
            return Attempts.of(*state["tokens"])
    # A stream of the train split other than the generator's own (seed).
    puzzles, solutions = puzzle_arrays("train", seed + 3, 0, recipe.puzzles)
    prompts = torch.from_numpy(grid_tokens(puzzles, PROMPT_END_ID))
    answers = torch.from_numpy(grid_tokens(solutions, EOS_ID))
    tokens = [prompts, answers, sample(generator, prompts, recipe.samples, seed)]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"identity": identity, "tokens": tokens}, path)
    return Attempts.of(*tokens)


def revision_batches(pool: Attempts, recipe: ReviserRecipe, seed: int, step: int) -> list[Tensor]:
    """Returns the token ids of step ``step``, a tensor for each number of attempts k = 0..4.

    Each is int64[batch / 5, 42 * k + 84]: attempts, prompt, answer. The puzzles without attempts are new in
    each step.
    """
    rng = np.random.default_rng([seed, step])
    rows = recipe.batch // (MAX_ATTEMPTS + 1)
    squares = TASKS["lab"]
    batches = [part.tokens for part in squares.examples(seed + 5, step, rows)]
    for k in range(1, MAX_ATTEMPTS + 1):
        batches.append(squares.renamed(_tokens(pool, *wrong_contexts(pool, k, rows, rng)), rng))
    return batches


def wrong_contexts(
    pool: Attempts, k: int, rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws ``rows`` contexts of ``k`` incorrect attempts: (puzzles [rows], their attempts [rows, k]).

    Four of the puzzle's incorrect attempts (all, if there are fewer) are drawn; the closest of them to the
    answer comes last. Without the draw the last one would be the same attempt each time.
    """
    able = np.flatnonzero(pool.wrong.sum(1) >= k)
    puzzle = able[rng.integers(0, len(able), rows)]
    wrong = pool.wrong[puzzle]
    chosen = np.argsort(np.where(wrong, rng.random(wrong.shape), 2.0), axis=1)[:, :MAX_ATTEMPTS]
    distance = np.take_along_axis(pool.distances[puzzle], chosen, 1)
    distance = np.where(np.take_along_axis(wrong, chosen, 1), distance, np.int16(1000))
    closest = distance.argmin(1)[:, None]
    places = np.arange(chosen.shape[1])
    order = np.argsort(np.where(places == closest, -1, places), axis=1)[:, :k]  # the closest, then the others
    return puzzle, np.take_along_axis(chosen, order[:, ::-1], 1)


def _tokens(pool: Attempts, puzzle: npt.NDArray[np.int64], which: npt.NDArray[np.int64]) -> Tensor:
    """Returns int64[rows, 42 * k + 84]: attempts ``which`` [rows, k] of ``puzzle`` [rows], prompt, answer."""
    at = torch.from_numpy(puzzle)
    attempts = pool.attempts[at[:, None], torch.from_numpy(np.ascontiguousarray(which))]
    return torch.cat([revision_tokens(pool.prompts[at], attempts), pool.answers[at]], dim=1)


def batch_loss(reviser: Qwen2ForCausalLM, tokens: Tensor) -> Tensor:
    """Returns the mean next-token loss over the answer, the last 42 of ``tokens`` (int64[n, length])."""
    hidden = reviser.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    logits = reviser.lm_head(hidden[:, -SOLUTION_TOKENS:])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, -SOLUTION_TOKENS:].flatten())


def edit_distances(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Returns the Levenshtein distance of each row of ``first`` [n, a] to that row of ``second`` [n, b].

    The result is int16[n]. Tokens are compared, which here are characters.
    """
    n, b = second.shape
    previous = np.tile(np.arange(b + 1, dtype=np.int16), (n, 1)).T  # [b + 1, n]: columns of the table
    other = np.ascontiguousarray(second.T)
    for i in range(first.shape[1]):
        current = np.empty_like(previous)
        current[0] = i + 1
        replaced = previous[:-1] + (other != first[:, i])
        best = np.minimum(replaced, previous[1:] + 1)
        for j in range(b):
            np.minimum(best[j], current[j] + 1, out=current[j + 1])
        previous = current
    return previous[-1]
