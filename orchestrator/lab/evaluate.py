"""The gates of the lab: is the spread of difficulty real, does the verifier pay, and at which step?

Everything is sampled offline in plain torch, 64 samples a problem, for several seeds. Quintiles are formed
on samples of another seed than those that are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.lab.model import load_generator, load_reward_model
from orchestrator.lab.sampling import sample, score
from orchestrator.lab.task import ROW_TOKENS, STEPS, problems
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, PROMPT_END_ID, build_tokenizer
from orchestrator.lab.train_verifier import prefix_labels
from orchestrator.prm.measures import auc, within_problem_auc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GROUP = 16  # samples a selection rule chooses from
_BINNING_SEED = 977
METRICS = ("pass@1", "coverage@64", "majority@16", "weighted@16", "best@16", "coverage@16")
BANDS = ((6, 8), (9, 11), (12, 14), (15, 17), (18, 20), (21, 24))


def evaluate(
    generator: Path,
    verifier: Path,
    split: str = "test",
    limit: int = 304,
    samples: int = 64,
    seeds: tuple[int, ...] = (0, 1, 2),
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the gates, print a table and return its numbers.

    ``samples`` is a multiple of 16. The dictionary has ``groups`` {name: {metric: [value of each seed]}}
    (``all``, ``Q1`` easiest to ``Q5``, and bands of blanks), ``within_auc`` and ``pooled_auc``
    [seed][step], ``minutes``, and what was measured. ``BadInput`` if a model or split does not exist.
    """
    start = time.monotonic()
    base, prm = load_generator(generator), load_reward_model(verifier)
    tokenizer = build_tokenizer()
    tests = problems(split, limit)
    prompts = torch.tensor([tokenizer(p.prompt)["input_ids"] for p in tests])
    truths = torch.tensor([[*tokenizer(p.answer)["input_ids"], EOS_ID] for p in tests])
    assert int(prompts[0, -1]) == PROMPT_END_ID

    binning = (sample(base, prompts, samples, _BINNING_SEED) == truths[:, None]).all(-1)
    groups = _groups(binning.float().mean(1).numpy(), np.array([p.difficulty for p in tests]))
    table: dict[str, dict[str, list[float]]] = {g: {m: [] for m in METRICS} for g in groups}
    within, pooled = [], []
    for seed in seeds:
        solutions = sample(base, prompts, samples, seed)
        scores = score(prm, prompts, solutions)
        last, steps = _step_scores(scores, solutions)
        good = prefix_labels(solutions, truths[:, None])[..., ROW_TOKENS - 1 :: ROW_TOKENS].numpy()
        values = _metrics(solutions.numpy(), good[..., -1], last)
        for name, members in groups.items():
            for metric in METRICS:
                table[name][metric].append(float(values[metric][members].mean()))
        within.append(
            [within_problem_auc(zip(steps[..., k], good[..., k], strict=True)) for k in range(STEPS)]
        )
        pooled.append([auc(steps[..., k].ravel(), good[..., k].ravel()) for k in range(STEPS)])
    result = {
        "generator": generator.name,
        "verifier": verifier.name,
        "split": split,
        "problems": len(tests),
        "samples": samples,
        "seeds": list(seeds),
        "sizes": {name: int(members.sum()) for name, members in groups.items()},
        "groups": table,
        "within_auc": within,
        "pooled_auc": pooled,
        "minutes": (time.monotonic() - start) / 60,
    }
    log(format_table(result))
    return result


def _groups(pass_rate: Floats, blanks: Floats) -> dict[str, Bools]:
    """Masks over problems: all, quintiles of ``pass_rate`` (Q1 easiest), bands of blanks."""
    groups: dict[str, Bools] = {"all": np.ones(len(pass_rate), bool)}
    # Ties (many problems at 1.0) are broken by the number of blanks.
    order = np.lexsort((blanks, -pass_rate))
    for i, members in enumerate(np.array_split(order, 5)):
        groups[f"Q{i + 1}"] = np.isin(np.arange(len(order)), members)
    for low, high in BANDS:
        groups[f"{low}-{high}"] = (blanks >= low) & (blanks <= high)
    return {name: members for name, members in groups.items() if members.any()}


def _step_scores(scores: torch.Tensor, solutions: torch.Tensor) -> tuple[Floats, Floats]:
    """(score at the last token [problems, n], scores at the ends of the 6 rows [problems, n, 6]).

    A solution that ended early has its last score repeated.
    """
    ends = torch.arange(ROW_TOKENS - 1, STEPS * ROW_TOKENS, ROW_TOKENS)
    lengths = (solutions != PAD_ID).sum(-1, keepdim=True)
    at = torch.minimum(ends, lengths - 1)
    steps = scores.gather(-1, at).double().numpy()
    return steps[..., -1], steps


def _metrics(solutions: npt.NDArray[np.int64], correct: Bools, last: Floats) -> dict[str, Floats]:
    """Each metric for each problem, float64[problems]; the @16 ones are means over disjoint groups."""
    problems_, n, _ = solutions.shape
    assert n % GROUP == 0, "samples must be a multiple of 16"
    shape = (problems_, n // GROUP)
    majority, weighted, best = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for p in range(problems_):
        for g in range(n // GROUP):
            group = slice(g * GROUP, (g + 1) * GROUP)
            _, answer = np.unique(solutions[p, group], axis=0, return_inverse=True)
            answer = answer.ravel()
            right, weights = correct[p, group], last[p, group]
            votes = np.bincount(answer)
            # Ties between answers are broken at random: their expected accuracy.
            majority[p, g] = right[votes[answer] == votes.max()].mean()
            weighted[p, g] = right[answer == np.bincount(answer, weights).argmax()][0]
            best[p, g] = right[weights.argmax()]
    return {
        "pass@1": correct.mean(1),
        "coverage@64": correct.any(1).astype(float),
        "majority@16": majority.mean(1),
        "weighted@16": weighted.mean(1),
        "best@16": best.mean(1),
        "coverage@16": correct.reshape(*shape, GROUP).any(2).mean(1),
    }


def format_table(result: dict[str, Any]) -> str:
    """The numbers of ``evaluate`` as text: mean over seeds, ± half the range over seeds for ``all``."""
    seeds = len(result["seeds"])
    lines = [
        f"{result['generator']} + {result['verifier']}: {result['problems']} {result['split']} problems, "
        f"{result['samples']} samples, {seeds} seeds, {result['minutes']:.1f} min",
        f"{'':>8}{'n':>6}" + "".join(f"{m:>13}" for m in METRICS),
    ]
    for name, row in result["groups"].items():
        cells = "".join(f"{np.mean(row[m]):>13.3f}" for m in METRICS)
        lines.append(f"{name:>8}{result['sizes'][name]:>6}{cells}")
    spread = "".join(f"{np.ptp(result['groups']['all'][m]) / 2:>13.3f}" for m in METRICS)
    lines.append(f"{'all ±':>8}{'':>6}{spread}")
    lines.append("AUC by step         " + "".join(f"{k + 1:>8}" for k in range(STEPS)))
    for name in ("within_auc", "pooled_auc"):
        lines.append(f"{name:<20}" + "".join(f"{v:>8.3f}" for v in np.mean(result[name], axis=0)))
    return "\n".join(lines)
