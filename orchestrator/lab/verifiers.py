"""The recipes of the lab's verifiers: labels sampled through the orchestrator, then the usual training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator.config.schema import (
    LAB_MODELS,
    BudgetConfig,
    Config,
    GeneratorConfig,
    ProblemsConfig,
    ReviserConfig,
    TrackingConfig,
)
from orchestrator.grading.grader import Grader
from orchestrator.problems.codec import Codec
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.label import ChainLabeller, Labeller, StepLabeller

EXPERIMENT = "lab-training"
"""The MLflow experiment of the lab's trainings."""


@dataclass(frozen=True, slots=True)
class VerifierRecipe:
    """The settings of a verifier's labels and training."""

    labeller: Callable[[Codec, Grader], Labeller] | int
    """Makes the labeller; or the number of whole samples that are labelled (``lab.labels``)."""
    task: str
    """A key of ``tasks.TASKS``."""
    problems: int
    """Problems of the train split that are labelled, from its first."""
    backbone: str
    """The lab model whose layers the verifier starts from."""
    training: TrainConfig
    chains: bool = False
    """True where the labeller labels attempts of the reviser."""


_STEPS = partial(StepLabeller, solutions=4, completions=4)
_PRM = TrainConfig(
    steps=1500,
    batch=64,
    lr=2e-3,
    decay=0.5,
    dropout=0.0,
    extra_layers=3,  # the generator's layers are frozen: fine-tuned, they forget what the verifier needs
    freeze=-1,
    patience=1500,
)
RECIPES = {
    "prm": VerifierRecipe(_STEPS, "lab", 3420, "generator-s", _PRM),
    # Shallow and trained little, for studies of selection errors and over-optimisation.
    "prm-weak": VerifierRecipe(_STEPS, "lab", 1140, "generator-s", replace(_PRM, steps=200, extra_layers=1)),
    # The reviser's layers can read a context of attempts.
    "orm": VerifierRecipe(
        partial(ChainLabeller, chains=4, length=5),
        "lab",
        1330,
        "reviser",
        # Inputs differ in length, and small micro-batches are padded less.
        replace(_PRM, steps=500, micro=16, held_out=0.05),
        chains=True,
    ),
    # Many problems with few samples each: with 16 of 2400 it knew those problems, and others less.
    "coins-prm": VerifierRecipe(
        4,
        "coins",
        9600,
        "coins-generator-s",
        replace(_PRM, steps=2500, patience=2500, micro=32, held_out=0.05),
    ),
    "coins-prm-weak": VerifierRecipe(
        16,
        "coins",
        600,
        "coins-generator-s",
        replace(_PRM, steps=200, extra_layers=1, micro=32, held_out=0.05),
    ),
}


def label_config(recipe: VerifierRecipe, seed: int, runs: Path) -> Config:
    """Returns the run that samples a recipe's labels: no verifier, and a budget that never ends it."""
    engine = {"max_num_seqs": 256, "max_model_len": 384}
    return Config(
        name="lab",
        seed=seed,
        max_searches=512,
        problems=ProblemsConfig(source="lab", split="train", limit=recipe.problems),
        generator=GeneratorConfig(
            model=str(LAB_MODELS / "generator-s"),
            step_delimiter="\n",
            max_step_tokens=8,
            max_tokens=48,
            dtype="float32",
            engine=engine,
        ),
        reviser=ReviserConfig(
            model=str(LAB_MODELS / "reviser"), format="lab", dtype="float32", engine=engine
        ),
        strategy={"name": "revisions" if recipe.chains else "best_of_n"},
        budget=BudgetConfig(flops=1e15),
        tracking=TrackingConfig(experiment="lab"),
        runs=str(runs),
    )
