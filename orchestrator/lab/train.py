"""One entry point for the training of the lab's models, and where the trained ones are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.train_generator import GeneratorRecipe, train_generator
from orchestrator.lab.train_reviser import ReviserRecipe, train_reviser
from orchestrator.lab.training import LOG, Log
from orchestrator.lab.verifiers import EXPERIMENT
from orchestrator.lab.verifiers import RECIPES as VERIFIERS
from orchestrator.tracking.tracker import Tracker, temporary_run_id

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""The committed models, by the names of what is trained."""

Recipe = GeneratorRecipe | ReviserRecipe

RECIPES: Mapping[str, Recipe] = {
    "generator-s": GeneratorRecipe("s"),
    "generator-m": GeneratorRecipe("m"),
    # From nothing, on one pass over the same puzzles, no model of this size came to be better than m.
    "generator-l": GeneratorRecipe("l", 1200, muon_lr=0.006, adam_lr=6e-4, decay=1.0, base="generator-m"),
    "reviser": ReviserRecipe(),
}
"""What is trained here, and how; the verifiers are trained in ``lab.verifiers``."""


def train(
    what: str,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    generator: Path = CHECKPOINTS / "generator-s",
    log: Log = LOG,
) -> None:
    """Train ``what`` (a key of ``RECIPES``) on the CPU and write a stock model directory to ``out``.

    The same seed gives the same weights on the same machine and library versions. ``minutes`` stops early;
    the same call again continues. ``generator`` is the directory from which a reviser starts.
    ``log`` is told each 50 steps. ``BadInput`` if ``what`` is unknown or there is no generator.
    """
    match recipe_of(what):
        case GeneratorRecipe() as recipe:
            base = CHECKPOINTS / recipe.base if recipe.base is not None else None
            train_generator(out, recipe, seed, minutes, log, base)
        case ReviserRecipe() as recipe:
            train_reviser(out, generator, recipe, seed, minutes, log)


def recipe_of(what: str) -> Recipe:
    """The recipe; ``BadInput`` for an unknown name."""
    if what not in RECIPES:
        raise BadInput("lab.what", what, one_of([*RECIPES, *VERIFIERS]))
    return RECIPES[what]


def train_tracked(what: str, out: Path, seed: int, minutes: float | None, runs: Path) -> str | None:
    """``train``, as an MLflow run in the store of the directory ``runs``: the recipe as parameters, the loss
    each 50 steps. A training that is continued is a run again, from the step it had reached.

    Returns what could not be tracked, or None.
    """
    recipe = recipe_of(what)
    tracker = Tracker(
        runs,
        temporary_run_id(what),
        EXPERIMENT,
        {"what": what, "seed": seed, "out": out.name, "recipe": asdict(recipe)},
        title=f"{what}-seed{seed}",
    )
    status = "KILLED"
    try:
        train(
            what, out, seed, minutes, log=Log(loss=lambda step, loss: tracker.metrics([("loss", loss, step)]))
        )
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        failure = tracker.close(status)
    return failure
