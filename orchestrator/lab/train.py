"""Trains the lab's generators and its reviser by name, and says where the trained models are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.train_generator import GeneratorRecipe, train_generator
from orchestrator.lab.train_reviser import ReviserRecipe, train_reviser
from orchestrator.lab.verifiers import EXPERIMENT
from orchestrator.lab.verifiers import RECIPES as VERIFIERS
from orchestrator.tracking.tracker import Tracker, temporary_run_id
from orchestrator.verifiers.training import Track

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""Holds the committed models, each in a directory of its name."""

Recipe = GeneratorRecipe | ReviserRecipe

RECIPES: Mapping[str, Recipe] = {
    "generator-s": GeneratorRecipe(),
    "generator-m": GeneratorRecipe(size="m"),
    # Trained from random weights on one pass over the same puzzles, no model of this size was better than m.
    "generator-l": GeneratorRecipe(
        size="l", steps=1200, muon_lr=0.006, adam_lr=6e-4, decay=1.0, base="generator-m"
    ),
    "reviser": ReviserRecipe(),
    "coins-generator-s": GeneratorRecipe("coins", steps=3000),
    "coins-generator-m": GeneratorRecipe("coins", size="m", steps=3000),
}
"""The recipes by the model's name; those of the verifiers are in ``lab.verifiers``."""


def train(
    what: str,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    generator: Path = CHECKPOINTS / "generator-s",
    log: Callable[[str], None] = print,
    track: Track = lambda metrics: None,
) -> None:
    """Trains ``what`` (a key of ``RECIPES``) on the CPU and writes a Hugging Face model directory to ``out``.

    The same seed gives the same weights on the same machine and library versions. ``minutes`` ends the call
    early; the same call again continues. A reviser starts from the model in directory ``generator``. The
    losses go to ``log`` and ``track`` each 50 steps. Raises ``BadInput`` if ``what`` is unknown or if there
    is no generator.
    """
    match recipe_of(what):
        case GeneratorRecipe() as recipe:
            base = CHECKPOINTS / recipe.base if recipe.base is not None else None
            train_generator(out, recipe, seed, minutes, log, track, base)
        case ReviserRecipe() as recipe:
            train_reviser(out, generator, recipe, seed, minutes, log, track)


def recipe_of(what: str) -> Recipe:
    """Returns the recipe of a model. Raises ``BadInput`` for an unknown name."""
    if what not in RECIPES:
        raise BadInput("lab.what", what, one_of([*RECIPES, *VERIFIERS]))
    return RECIPES[what]


def train_tracked(what: str, out: Path, seed: int, minutes: float | None, runs: Path) -> str | None:
    """Trains as ``train`` does and logs an MLflow run in the store of the directory ``runs``.

    The recipe is logged as parameters, the loss each 50 steps. A training that is continued is a new run,
    from the step that it had reached. Returns what could not be tracked, or None.
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
        train(what, out, seed, minutes, track=tracker.metrics)
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        failure = tracker.close(status)
    return failure
