"""Measures the reviser: pass@1 of each attempt of its chains, beside that of the generator.

A chain keeps its last 4 attempts in the context, sampled at temperature 1. Nothing tells the reviser whether
one of them was correct.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.lab.evaluate import BINNING_SEED, Floats, difficulty_groups
from orchestrator.lab.model import load_generator
from orchestrator.lab.revision import sample_chains
from orchestrator.lab.sampling import sample
from orchestrator.lab.tasks import TASKS, Bools
from orchestrator.lab.tokenizer import EOS_ID, build_tokenizer
from orchestrator.problems.lab import problems

REVISIONS = 8
LENGTH = 16
"""Attempts of a chain."""
METRICS = ("base", "first", *(f"rev{i}" for i in range(1, REVISIONS + 1)), "cov16 par", "cov16 seq")
_BINNING_SAMPLES = 32


def evaluate_reviser(
    generator: Path,
    reviser: Path,
    split: str = "test",
    limit: int = 512,
    chains: int = 2,
    seeds: tuple[int, ...] = (0, 1, 2),
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measures ``chains`` chains of 16 attempts a problem and seed, logs the table and returns its numbers.

    The generator draws as many samples. The numbers:

    - ``groups``: {group: {metric: [value for each seed]}}; the groups are ``all``, ``Q1`` (easiest for the
      generator) to ``Q5`` and the bands of blanks;
    - ``to_wrong``, ``to_right`` [seed][revision 1..8]: the share of correct attempts whose next revision is
      incorrect, and of incorrect attempts whose next revision is correct;
    - ``minutes``.

    Raises ``BadInput`` if a model or the split does not exist.
    """
    start = time.monotonic()
    base, model = load_generator(generator), load_generator(reviser)
    tokenizer = build_tokenizer()
    tests = problems(split, limit)
    prompts = torch.tensor([tokenizer(p.prompt)["input_ids"] for p in tests])
    truths = torch.tensor([[*tokenizer(p.answer)["input_ids"], EOS_ID] for p in tests])

    binning = (sample(base, prompts, _BINNING_SAMPLES, BINNING_SEED) == truths[:, None]).all(-1)
    groups = difficulty_groups(
        binning.float().mean(1).numpy(), np.array([p.difficulty for p in tests]), TASKS["lab"].bands
    )
    table: dict[str, dict[str, list[float]]] = {g: {m: [] for m in METRICS} for g in groups}
    to_wrong, to_right = [], []
    many = prompts.repeat_interleave(chains, 0)
    shape = (len(tests), chains, LENGTH)
    for seed in seeds:
        parallel = (sample(base, prompts, chains * LENGTH, seed) == truths[:, None]).all(-1)
        attempts = sample_chains(model, many, LENGTH, seed).view(*shape, -1)
        chain = (attempts == truths[:, None, None]).all(-1).numpy()
        values = _values(parallel.view(shape).numpy(), chain)
        for name, members in groups.items():
            for metric in METRICS:
                table[name][metric].append(float(values[metric][members].mean()))
        wrong, right = flips(chain.reshape(-1, LENGTH)[:, : REVISIONS + 1])
        to_wrong.append(wrong)
        to_right.append(right)
    result = {
        "generator": generator.name,
        "reviser": reviser.name,
        "split": split,
        "problems": len(tests),
        "chains": chains,
        "seeds": list(seeds),
        "sizes": {name: int(members.sum()) for name, members in groups.items()},
        "groups": table,
        "to_wrong": to_wrong,
        "to_right": to_right,
        "minutes": (time.monotonic() - start) / 60,
    }
    log(format_reviser_table(result))
    return result


def _values(parallel: Bools, chain: Bools) -> dict[str, Floats]:
    """Returns each metric as float64[problems] from correctness bool[problems, chains, 16]."""
    by_attempt = chain.mean(1)
    return {
        "base": parallel.mean((1, 2)),
        "first": by_attempt[:, 0],
        **{f"rev{i}": by_attempt[:, i] for i in range(1, REVISIONS + 1)},
        "cov16 par": parallel.any(2).mean(1),
        "cov16 seq": chain.any(2).mean(1),
    }


def flips(correct: Bools) -> tuple[list[float], list[float]]:
    """Returns the share of correct attempts that become incorrect, and of incorrect that become correct.

    ``correct`` is bool[chains, attempts]. Each list has a value for each revision (attempts - 1); NaN where
    there is no such attempt.
    """
    before, after = correct[:, :-1], correct[:, 1:]
    with np.errstate(invalid="ignore"):
        to_wrong = (before & ~after).sum(0) / before.sum(0)
        to_right = (~before & after).sum(0) / (~before).sum(0)
    return to_wrong.tolist(), to_right.tolist()


def format_reviser_table(result: dict[str, Any]) -> str:
    """Returns the numbers of ``evaluate_reviser`` as text: means over seeds, half their range."""
    lines = [
        f"{result['reviser']} over {result['generator']}: {result['problems']} {result['split']} problems, "
        f"{result['chains']} chains, {len(result['seeds'])} seeds, {result['minutes']:.1f} min",
        f"{'':>8}{'n':>6}" + "".join(f"{m:>10}" for m in METRICS),
    ]
    for name, row in result["groups"].items():
        cells = "".join(f"{np.mean(row[m]):>10.3f}" for m in METRICS)
        lines.append(f"{name:>8}{result['sizes'][name]:>6}{cells}")
    spread = "".join(f"{np.ptp(result['groups']['all'][m]) / 2:>10.3f}" for m in METRICS)
    lines.append(f"{'all ±':>8}{'':>6}{spread}")
    for name in ("to_wrong", "to_right"):
        cells = "".join(f"{v:>10.3f}" for v in np.mean(result[name], axis=0))
        lines.append(f"{name:>8}{'':>26}{cells}")
    return "\n".join(lines)
