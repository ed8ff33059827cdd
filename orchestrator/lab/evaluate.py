"""Measures a generator and its verifiers: accuracy by selection rule, AUC and calibration by step.

Samples are drawn in plain torch, without an engine, once for all verifiers. The fifths of difficulty are told
by samples of another seed than the ones that are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.errors import BadInput
from orchestrator.lab.model import load_generator
from orchestrator.lab.sampling import sample, score
from orchestrator.lab.tasks import TASKS, Bools, Judged
from orchestrator.lab.tokenizer import build_tokenizer
from orchestrator.verifiers.measures import auc, calibration_error, reliability, within_problem_auc
from orchestrator.verifiers.model import load_verifier

Floats = npt.NDArray[np.float64]

GROUP = 16
"""Samples that a selection rule chooses from, beside all of them."""
RULES = ("majority", "weighted", "best", "coverage")
BINNING_SEED = 977


def evaluate(
    generator: Path,
    verifiers: Sequence[Path],
    task: str = "lab",
    split: str = "test",
    limit: int = 512,
    samples: int = 64,
    seeds: tuple[int, ...] = (0, 1, 2),
    log: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Measures each verifier, logs its table and returns its numbers by its name.

    The numbers of a verifier:

    - ``groups``: {group: {metric: [value for each seed]}}; the groups are ``all``, ``Q1`` (easiest) to ``Q5``
      and the bands of difficulty;
    - ``within_auc``, ``pooled_auc`` [seed][step]: the label is whether the solution is right so far; of the
      solutions that have such a step;
    - ``ece`` [step], ``reliability`` (all steps): the label is whether the whole solution is right, of which
      a step's score is to be the chance;
    - ``within_auc_last`` [seed]: of the last step of all solutions, the label is whether the answer is right;
    - ``lucky`` [seed]: the share of right answers with a wrong step;
    - ``minutes``: the time for all verifiers.

    Raises ``BadInput`` if ``samples`` is not a multiple of 16, or if a model or the split does not exist.
    """
    if samples < 1 or samples % GROUP:
        raise BadInput("--samples", samples, f"allowed: multiples of {GROUP}")
    start = time.monotonic()
    base, prms = load_generator(generator), {path.name: load_verifier(path) for path in verifiers}
    kind = TASKS[task]
    tokenizer = build_tokenizer(kind.vocabulary)
    tests = kind.problems(split, limit)
    prompts = [torch.tensor(tokenizer(p.prompt)["input_ids"]) for p in tests]

    def judged(solutions: torch.Tensor) -> Judged:
        return Judged.stacked([kind.judge(p, some) for p, some in zip(tests, solutions, strict=True)])

    binning = judged(sample(base, prompts, samples, BINNING_SEED, tokens=kind.tokens)).right
    difficulty = np.array([p.difficulty for p in tests])
    groups = difficulty_groups(binning.mean(1), difficulty, kind.bands)
    metrics = _names(samples)
    table: dict[str, dict[str, dict[str, list[float]]]]
    table = {name: {g: {m: [] for m in metrics} for g in groups} for name in prms}
    within: dict[str, list[list[float]]] = {name: [] for name in prms}
    within_last: dict[str, list[float]] = {name: [] for name in prms}
    pooled: dict[str, list[list[float]]] = {name: [] for name in prms}
    step_scores: dict[str, list[Floats]] = {name: [] for name in prms}
    ended: list[Judged] = []
    for seed in seeds:
        solutions = sample(base, prompts, samples, seed, tokens=kind.tokens)
        found = judged(solutions)
        ended.append(found)
        for name, prm in prms.items():
            scores = score(prm, prompts, solutions).gather(-1, torch.from_numpy(found.ends)).double().numpy()
            last = scores[..., -1]
            values = _metrics(found, last)
            for group, members in groups.items():
                for metric in metrics:
                    table[name][group][metric].append(float(values[metric][members].mean()))
            steps = range(found.steps.shape[-1])
            within[name].append(
                [within_problem_auc(_of_step(scores, found, k)) for k in steps if found.steps[..., k].any()]
            )
            here = [found.steps[..., k] for k in steps if found.steps[..., k].any()]
            pooled[name].append([auc(scores[..., k][m], found.good[..., k][m]) for k, m in enumerate(here)])
            within_last[name].append(within_problem_auc(zip(last, found.right, strict=True)))
            step_scores[name].append(scores)
    minutes = (time.monotonic() - start) / 60
    results = {}
    for name in prms:
        scores = np.concatenate(step_scores[name])
        here, outcomes = (np.concatenate(x) for x in zip(*((f.steps, f.right) for f in ended), strict=True))
        outcomes = np.broadcast_to(outcomes[..., None], here.shape).astype(float)
        counted = [k for k in range(here.shape[-1]) if here[..., k].any()]
        tables = [reliability(scores[..., k][here[..., k]], outcomes[..., k][here[..., k]]) for k in counted]
        all_steps = reliability(scores[here], outcomes[here])
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
            "within_auc_last": within_last[name],
            "lucky": [float(f.lucky.sum() / max(1, f.right.sum())) for f in ended],
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


def difficulty_groups(
    pass_rate: Floats, difficulty: Floats, bands: Sequence[tuple[int, int]]
) -> dict[str, Bools]:
    """Returns masks over problems: all, fifths by ``pass_rate`` (Q1 is the easiest), bands of difficulty."""
    groups: dict[str, Bools] = {"all": np.ones(len(pass_rate), bool)}
    # Ties (many problems at 1.0) are broken by the difficulty.
    order = np.lexsort((difficulty, -pass_rate))
    for i, members in enumerate(np.array_split(order, 5)):
        groups[f"Q{i + 1}"] = np.isin(np.arange(len(order)), members)
    for low, high in bands:
        groups[f"{low}-{high}" if low < high else f"{low}"] = (difficulty >= low) & (difficulty <= high)
    return {name: members for name, members in groups.items() if members.any()}


def _of_step(scores: Floats, found: Judged, step: int) -> Iterator[tuple[Floats, Bools]]:
    """Yields for each problem the scores of a step, and whether it is right so far, where there is one."""
    for p in range(len(scores)):
        here = found.steps[p, :, step]
        yield scores[p, here, step], found.good[p, here, step]


def _metrics(found: Judged, last: Floats) -> dict[str, Floats]:
    """Returns each metric as float64[problems]; a metric over 16 samples is a mean over disjoint groups."""
    problems_, n = found.right.shape
    values = {"pass@1": found.right.mean(1)}
    for size in {GROUP, n}:
        chosen: dict[str, Floats] = {rule: np.zeros((problems_, n // size)) for rule in RULES}
        for p in range(problems_):
            for g in range(n // size):
                group = slice(g * size, (g + 1) * size)
                # Solutions without an answer have no vote and are not chosen.
                told = found.answers[p, group] >= 0
                if not told.any():
                    continue
                answer = found.answers[p, group][told]
                right, weights = found.right[p, group][told], last[p, group][told]
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
    lines.append(f"{'by step':<20}" + "".join(f"{k + 1:>8}" for k in range(len(result["ece"]))))
    for name in ("within_auc", "pooled_auc"):
        lines.append(f"{name:<20}" + "".join(f"{v:>8.3f}" for v in np.mean(result[name], axis=0)))
    lines.append(f"{'calibration error':<20}" + "".join(f"{v:>8.3f}" for v in result["ece"]))
    lines.append(f"{'within_auc, last step':<22}{np.mean(result['within_auc_last']):>6.3f}")
    lines.append(f"{'right by luck':<22}{np.mean(result['lucky']):>6.3f}")
    lines.append("calibration, all steps:       n   score   right")
    for row in result["reliability"]:
        lines.append(f"{'':>22}{row['count']:>9}{row['score']:>8.3f}{row['label']:>8.3f}")
    return "\n".join(lines)
