"""Training of the reviser: from the generator, to write the answer after some attempts of its puzzle.

Contexts have 0-4 attempts, each number equally often, and come from three sources:

- ``wrong``: incorrect samples of the generator, the last one the closest to the answer by edit distance;
- ``drawn``: samples of the generator as they come, also correct ones, which teach it to keep what is right;
- ``own``: pieces of the reviser's own chains, sampled once when a part of the training is done, because a
  revision of a revision is unlike a sample of the generator.

Measured (512 test problems, 3 seeds): the first attempt is right in .488 against the generator's .486, the
first four revisions in .551 .566 .576 .567, the eighth in .559 (± .01 between seeds). 9 to 12 % of correct
attempts become incorrect in the next revision, 14 to 21 % of incorrect ones correct; 16 in a chain cover
.817, 16 samples of the generator .797. With ``wrong`` contexts alone and no auxiliary loss it is no worse
(``reviser-wrong``, 256 problems): .494 against .485, then .574 .578 .588 .579, the eighth .570; 16 cover .850
against .798. A reviser of the generator's own size (AdamW 8e-4, 1,600 steps) got .42 and stayed there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM

from orchestrator.lab.model import deepened, load_generator, parameter_count, save_generator
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.revision import revision_tokens, sample_chains, well_formed
from orchestrator.lab.sampling import sample
from orchestrator.lab.tokenizer import EOS_ID, IDS, PROMPT_END_ID, VOCABULARY, grid_tokens
from orchestrator.lab.train_generator import RESUME_FILE, training_batch
from orchestrator.lab.training import LOG, Log, Schedule, fit, muon_and_adamw
from orchestrator.problems.lab import MAX_ATTEMPTS, ORDER, PROMPT_TOKENS, SOLUTION_TOKENS

_CHAIN = MAX_ATTEMPTS + 2  # attempts in an own chain: contexts from its start and from further on


@dataclass(frozen=True, slots=True)
class ReviserRecipe:
    """How a reviser is trained.

    ``batch`` rows a step (a multiple of 5: as many for each number of attempts); ``samples`` solutions of the
    generator for each of ``puzzles`` puzzles; ``drawn_share`` of the contexts of the generator's samples are
    ``drawn``, the others ``wrong``. From step ``own_from`` * ``steps`` on, ``own_share`` of all contexts
    are pieces of the reviser's own chains on ``own_puzzles`` puzzles. ``cell_weight`` is the weight of the
    auxiliary loss.
    """

    steps: int = 2000
    batch: int = 60
    lr: float = 1.5e-3
    puzzles: int = 8000
    samples: int = 8
    drawn_share: float = 0.5
    own_from: float = 0.5
    own_share: float = 0.5
    own_puzzles: int = 1500
    cell_weight: float = 0.5
    extra_layers: int = 3
    muon_lr: float = 0.01


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts at puzzles, in token ids: prompts [p, 42], answers [p, 42], attempts [p, n, 42], int64.

    ``whole`` bool[p, n]: well-formed, ``wrong`` bool[p, n]: well-formed and incorrect, ``distances``
    int16[p, n] to the answer in characters.
    """

    prompts: Tensor
    answers: Tensor
    attempts: Tensor
    whole: npt.NDArray[np.bool_]
    wrong: npt.NDArray[np.bool_]
    distances: npt.NDArray[np.int16]

    @classmethod
    def of(cls, prompts: Tensor, answers: Tensor, attempts: Tensor) -> Attempts:
        flat = attempts.flatten(0, 1).numpy()
        targets = answers.repeat_interleave(attempts.shape[1], 0).numpy()
        shape = attempts.shape[:2]
        distances = edit_distances(flat, targets).reshape(shape)
        whole = well_formed(attempts).numpy()
        return cls(prompts, answers, attempts, whole, whole & (distances > 0), distances)


class _Trained(nn.Module):
    """The reviser with a head that says each blank's symbol at the prompt's own token; dropped afterwards.

    At the prompt's tokens, the model sees the whole last attempt. To say there what belongs into each cell
    it must check the attempt as a grid, and the solution's tokens then find the result 42 tokens back.
    """

    def __init__(self, reviser: Qwen2ForCausalLM) -> None:
        super().__init__()
        self.reviser = reviser
        self.cell = nn.Linear(reviser.config.hidden_size, len(VOCABULARY))


def train_reviser(
    out: Path,
    generator: Path,
    recipe: ReviserRecipe,
    seed: int,
    minutes: float | None = None,
    log: Log = LOG,
) -> list[float]:
    """Train from the generator in directory ``generator``; write a stock directory to ``out``.

    A function of (generator, recipe, seed). Stops early after ``minutes`` (sampling not counted); a second
    call continues from the files in ``out``. Returns the losses of this call. ``BadInput`` if there is no
    generator.
    """
    base = load_generator(generator)
    identity = f"{recipe}, seed {seed}, generator {generator.name}"
    # Streams of the train split other than the generator's own (seed) and the verifier's (seed + 1, + 2).
    pool = _kept(
        out / "samples.pt",
        identity,
        lambda: _on_puzzles(seed + 3, recipe.puzzles, lambda p: sample(base, p, recipe.samples, seed)),
    )
    log(f"{pool.wrong.size} samples of the generator, {pool.wrong.mean():.3f} incorrect")
    torch.manual_seed(seed)
    own: list[Attempts] = []
    base = deepened(base, recipe.extra_layers, seed)
    trained = _Trained(base)
    log(f"reviser: {parameter_count(base)} parameters, {recipe.steps} steps of {recipe.batch}")

    def own_chains() -> tuple[Tensor, Tensor, Tensor]:
        return _on_puzzles(seed + 4, recipe.own_puzzles, lambda p: sample_chains(base, p, _CHAIN, seed))

    def loss_of(step: int) -> Tensor:
        if step >= recipe.own_from * recipe.steps and not own:
            own.append(_kept(out / "chains.pt", identity, own_chains))
            right = (own[0].distances == 0).mean(0)
            log("own chains, correct by attempt: " + " ".join(f"{share:.3f}" for share in right))
        batches = revision_batches(pool, own[0] if own else None, recipe, seed, step)
        losses = [batch_loss(trained.reviser, trained.cell, batch, recipe.cell_weight) for batch in batches]
        return torch.stack(losses).mean()

    trained.train()
    optimizers = muon_and_adamw(trained, recipe.muon_lr, recipe.lr)
    losses = fit(
        trained, optimizers, loss_of, Schedule(recipe.steps), out / RESUME_FILE, identity, minutes, log
    )
    save_generator(base, out)
    if not (out / RESUME_FILE).exists():
        for name in ("samples.pt", "chains.pt"):
            (out / name).unlink(missing_ok=True)
    return losses


def _on_puzzles(stream: int, count: int, solve: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(prompts, answers, attempts) of ``count`` new puzzles of the train split."""
    puzzles, solutions = puzzle_arrays("train", stream, 0, count)
    prompts = torch.from_numpy(grid_tokens(puzzles, PROMPT_END_ID))
    return prompts, torch.from_numpy(grid_tokens(solutions, EOS_ID)), solve(prompts)


def _kept(path: Path, identity: str, make: Callable[[], tuple[Tensor, Tensor, Tensor]]) -> Attempts:
    """What ``make`` returns, kept in a file so that a second call continues with the same samples."""
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["identity"] == identity:
            return Attempts.of(*state["tokens"])
    tokens = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"identity": identity, "tokens": list(tokens)}, path)
    return Attempts.of(*tokens)


def revision_batches(
    pool: Attempts, own: Attempts | None, recipe: ReviserRecipe, seed: int, step: int
) -> list[Tensor]:
    """The token ids of step ``step``: for each number of attempts k = 0..4, int64[batch / 5, 42 * k + 84]:
    attempts, prompt, answer. Without attempts the puzzles are new ones each time."""
    rng = np.random.default_rng([seed, step])
    rows = recipe.batch // (MAX_ATTEMPTS + 1)
    # A reviser that has learned too little breaks the form in every chain.
    use_own = own is not None and bool(own.whole.all(1).any())
    batches = [training_batch(seed + 5, step, rows)]
    for k in range(1, MAX_ATTEMPTS + 1):
        from_own = round(rows * recipe.own_share) if use_own else 0
        drawn = round((rows - from_own) * recipe.drawn_share)
        wrong = rows - from_own - drawn
        parts = [_tokens(pool, *wrong_contexts(pool, k, wrong, rng))]
        parts += [_tokens(pool, *_drawn_contexts(pool, k, drawn, rng))]
        if own is not None and use_own:
            parts += [_tokens(own, *_own_contexts(own, k, from_own, rng))]
        batches.append(renamed(torch.cat(parts), rng))
    return batches


def wrong_contexts(
    pool: Attempts, k: int, rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``rows`` contexts of ``k`` incorrect attempts: (puzzle [rows], indices of its attempts [rows, k]).

    Of a random four of the puzzle's incorrect attempts (all, if there are fewer) the closest to the answer
    comes last, others before it; of always the same eight it would always be the same one.
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


def _drawn_contexts(
    pool: Attempts, k: int, rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``rows`` contexts of ``k`` attempts as they come, in the same form."""
    able = np.flatnonzero(pool.whole.sum(1) >= k)
    puzzle = able[rng.integers(0, len(able), rows)]
    whole = pool.whole[puzzle]
    return puzzle, np.argsort(np.where(whole, rng.random(whole.shape), 2.0), axis=1)[:, :k]


def _own_contexts(
    own: Attempts, k: int, rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``rows`` contexts of ``k`` successive attempts of a chain without malformed ones, in the same form."""
    able = np.flatnonzero(own.whole.all(1))
    first = rng.integers(0, own.attempts.shape[1] - k + 1, rows)
    return able[rng.integers(0, len(able), rows)], first[:, None] + np.arange(k)


def _tokens(pool: Attempts, puzzle: npt.NDArray[np.int64], which: npt.NDArray[np.int64]) -> Tensor:
    """int64[rows, 42 * k + 84]: attempts ``which`` [rows, k] of ``puzzle`` [rows], prompt and answer."""
    at = torch.from_numpy(puzzle)
    attempts = pool.attempts[at[:, None], torch.from_numpy(np.ascontiguousarray(which))]
    return torch.cat([revision_tokens(pool.prompts[at], attempts), pool.answers[at]], dim=1)


def renamed(tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Each row [n, length] with its symbols renamed by a random permutation: as good as a new puzzle, and
    in the same split."""
    table = np.tile(np.arange(len(VOCABULARY)), (tokens.shape[0], 1))
    symbols = table[:, IDS["1"] : IDS["1"] + ORDER]
    table[:, IDS["1"] : IDS["1"] + ORDER] = rng.permuted(symbols, axis=1)
    return torch.from_numpy(table).gather(1, tokens)


def batch_loss(reviser: Qwen2ForCausalLM, cell: nn.Linear, tokens: Tensor, cell_weight: float) -> Tensor:
    """Mean next-token loss over the answer (the last 42 of ``tokens`` [n, length]), nothing else before it.

    Where there are attempts, the auxiliary loss is added: at the prompt's blanks ``cell`` says the answer's
    symbol.
    """
    hidden = reviser.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    answer = tokens[:, -SOLUTION_TOKENS:]
    logits = reviser.lm_head(hidden[:, -SOLUTION_TOKENS:])
    loss = F.cross_entropy(logits.flatten(0, 1), answer.flatten())
    if cell_weight and tokens.shape[1] > PROMPT_TOKENS + SOLUTION_TOKENS:
        start = tokens.shape[1] - SOLUTION_TOKENS - PROMPT_TOKENS
        blank = tokens[:, start : start + PROMPT_TOKENS] == IDS["."]
        here = hidden[:, start : start + PROMPT_TOKENS][blank]
        loss = loss + cell_weight * F.cross_entropy(cell(here), answer[blank])
    return loss


def edit_distances(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Levenshtein distance of each row of ``first`` [n, a] to the same row of ``second`` [n, b]: int16[n].

    The usual table, row by row, for all pairs at once. A character is a token.
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
