"""Measures a generator and its verifiers: accuracy by selection rule, AUC and calibration by step.

Samples are drawn in plain torch, without an engine, once for all verifiers. The fifths of difficulty are told
by samples of another seed than the ones that are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.errors import BadInput
from orchestrator.lab.model import load_generator
from orchestrator.lab.sampling import sample, score
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, PROMPT_END_ID, build_tokenizer
from orchestrator.problems.lab import ROW_TOKENS, STEPS, problems
from orchestrator.verifiers.measures import auc, calibration_error, reliability, within_problem_auc
from orchestrator.verifiers.model import load_verifier

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GROUP = 16
"""Samples that a selection rule chooses from, beside all of them."""
RULES = ("majority", "weighted", "best", "coverage")
BINNING_SEED = 977
BANDS = ((6, 8), (9, 11), (12, 14), (15, 17), (18, 20), (21, 24))
"""Groups of problems by their number of blanks, both ends included."""


def evaluate(
    generator: Path,
    verifiers: Sequence[Path],
    split: str = "test",
    limit: int = 512,
    samples: int = 64,
    seeds: tuple[int, ...] = (0, 1, 2),
    log: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Measures each verifier, logs its table and returns its numbers by its name.

    The numbers of a verifier:

    - ``groups``: {group: {metric: [value for each seed]}}; the groups are ``all``, ``Q1`` (easiest) to ``Q5``
      and the bands of blanks;
    - ``within_auc``, ``pooled_auc`` [seed][step]: the label is whether the solution is right so far;
    - ``ece`` [step], ``reliability`` (all steps): the label is whether the whole solution is right, of which
      a step's score is to be the chance;
    - ``minutes``: the time for all verifiers.

    Raises ``BadInput`` if ``samples`` is not a multiple of 16, or if a model or the split does not exist.
    """
    if samples < 1 or samples % GROUP:
        raise BadInput("--samples", samples, f"allowed: multiples of {GROUP}")
    start = time.monotonic()
    base, prms = load_generator(generator), {path.name: load_verifier(path) for path in verifiers}
    tokenizer = build_tokenizer()
    tests = problems(split, limit)
    prompts = torch.tensor([tokenizer(p.prompt)["input_ids"] for p in tests])
    truths = torch.tensor([[*tokenizer(p.answer)["input_ids"], EOS_ID] for p in tests])
    assert int(prompts[0, -1]) == PROMPT_END_ID

    binning = (sample(base, prompts, samples, BINNING_SEED) == truths[:, None]).all(-1)
    groups = difficulty_groups(binning.float().mean(1).numpy(), np.array([p.difficulty for p in tests]))
    metrics = _names(samples)
    table: dict[str, dict[str, dict[str, list[float]]]]
    table = {name: {g: {m: [] for m in metrics} for g in groups} for name in prms}
    within: dict[str, list[list[float]]] = {name: [] for name in prms}
    pooled: dict[str, list[list[float]]] = {name: [] for name in prms}
    step_scores: dict[str, list[Floats]] = {name: [] for name in prms}
    ended: list[Bools] = []
    for seed in seeds:
        solutions = sample(base, prompts, samples, seed)
        right = (solutions == truths[:, None]).long().cumprod(-1).bool()
        good = right[..., ROW_TOKENS - 1 :: ROW_TOKENS].numpy()
        ended.append(good[..., -1])
        for name, prm in prms.items():
            last, steps = _step_scores(score(prm, prompts, solutions), solutions)
            values = _metrics(solutions.numpy(), good[..., -1], last)
            for group, members in groups.items():
                for metric in metrics:
                    table[name][group][metric].append(float(values[metric][members].mean()))
            by_step = [(steps[..., k], good[..., k]) for k in range(STEPS)]
            within[name].append([within_problem_auc(zip(*pair, strict=True)) for pair in by_step])
            pooled[name].append([auc(scores.ravel(), right.ravel()) for scores, right in by_step])
            step_scores[name].append(steps)
    minutes = (time.monotonic() - start) / 60
    results = {}
    for name in prms:
        scores, outcomes = np.concatenate(step_scores[name]), np.concatenate(ended).astype(float)
        tables = [reliability(scores[..., k].ravel(), outcomes.ravel()) for k in range(STEPS)]
        all_steps = reliability(scores.ravel(), np.repeat(outcomes.ravel(), STEPS))
        results[name] = {
            "generator": generator.name,
            "verifier": name,
            "split": split,
            "problems": len(tests),
            "samples": samples,
            "seeds": list(seeds),
            "sizes": {group: int(members.sum()) for group, members in groups.items()},
            "groups": table[name],
            "within_auc": within[name],
            "pooled_auc": pooled[name],
            "ece": [calibration_error(table) for table in tables],
            "reliability": [asdict(row) for row in all_steps],
            "minutes": minutes,
        }
        log(format_table(results[name]))
    return results


def _names(samples: int) -> tuple[str, ...]:
    """Returns the names of the metrics: pass@1, and each rule over 16 samples and over all."""
    return ("pass@1", *(f"{rule}@{size}" for size in sorted({GROUP, samples}) for rule in RULES))


def difficulty_groups(pass_rate: Floats, blanks: Floats) -> dict[str, Bools]:
    """Returns masks over problems: all, fifths by ``pass_rate`` (Q1 is the easiest), bands of blanks."""
    groups: dict[str, Bools] = {"all": np.ones(len(pass_rate), bool)}
    # Ties (many problems at 1.0) are broken by the number of blanks.
    order = np.lexsort((blanks, -pass_rate))
    for i, members in enumerate(np.array_split(order, 5)):
        groups[f"Q{i + 1}"] = np.isin(np.arange(len(order)), members)
    for low, high in BANDS:
        groups[f"{low}-{high}"] = (blanks >= low) & (blanks <= high)
    return {name: members for name, members in groups.items() if members.any()}


def _step_scores(scores: torch.Tensor, solutions: torch.Tensor) -> tuple[Floats, Floats]:
    """Returns the scores at the last token [problems, n] and at the ends of the 6 rows [problems, n, 6].

    The last score of a solution that ended early is repeated.
    """
    ends = torch.arange(ROW_TOKENS - 1, STEPS * ROW_TOKENS, ROW_TOKENS)
    lengths = (solutions != PAD_ID).sum(-1, keepdim=True)
    at = torch.minimum(ends, lengths - 1)
    steps = scores.gather(-1, at).double().numpy()
    return steps[..., -1], steps


def _metrics(solutions: npt.NDArray[np.int64], correct: Bools, last: Floats) -> dict[str, Floats]:
    """Returns each metric as float64[problems]; a metric over 16 samples is a mean over disjoint groups."""
    problems_, n, _ = solutions.shape
    values = {"pass@1": correct.mean(1)}
    for size in {GROUP, n}:
        chosen: dict[str, Floats] = {rule: np.zeros((problems_, n // size)) for rule in RULES}
        for p in range(problems_):
            for g in range(n // size):
                group = slice(g * size, (g + 1) * size)
                _, answer = np.unique(solutions[p, group], axis=0, return_inverse=True)
                answer = answer.ravel()
                right, weights = correct[p, group], last[p, group]
                votes = np.bincount(answer)
                # Ties between answers are broken at random: their expected accuracy.
                chosen["majority"][p, g] = right[votes[answer] == votes.max()].mean()
                chosen["weighted"][p, g] = right[answer == np.bincount(answer, weights).argmax()][0]
                chosen["best"][p, g] = right[weights.argmax()]
                chosen["coverage"][p, g] = right.any()
        values |= {f"{rule}@{size}": chosen[rule].mean(1) for rule in RULES}
    return values


def format_table(result: dict[str, Any]) -> str:
    """Returns the numbers of a verifier as text: means over seeds, and half their range for ``all``."""
    seeds, metrics = len(result["seeds"]), _names(result["samples"])
    lines = [
        f"{result['generator']} + {result['verifier']}: {result['problems']} {result['split']} problems, "
        f"{result['samples']} samples, {seeds} seeds, {result['minutes']:.1f} min",
        f"{'':>8}{'n':>6}" + "".join(f"{m:>13}" for m in metrics),
    ]
    for name, row in result["groups"].items():
        cells = "".join(f"{np.mean(row[m]):>13.3f}" for m in metrics)
        lines.append(f"{name:>8}{result['sizes'][name]:>6}{cells}")
    spread = "".join(f"{np.ptp(result['groups']['all'][m]) / 2:>13.3f}" for m in metrics)
    lines.append(f"{'all ±':>8}{'':>6}{spread}")
    lines.append(f"{'by step':<20}" + "".join(f"{k + 1:>8}" for k in range(STEPS)))
    for name in ("within_auc", "pooled_auc"):
        lines.append(f"{name:<20}" + "".join(f"{v:>8.3f}" for v in np.mean(result[name], axis=0)))
    lines.append(f"{'calibration error':<20}" + "".join(f"{v:>8.3f}" for v in result["ece"]))
    lines.append("calibration, all steps:       n   score   right")
    for row in result["reliability"]:
        lines.append(f"{'':>22}{row['count']:>9}{row['score']:>8.3f}{row['label']:>8.3f}")
    return "\n".join(lines)
