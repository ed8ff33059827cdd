"""The lab's verifiers: labels are sampled through the orchestrator, the training is the generic one."""

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
from orchestrator.problems.answers import Answers
from orchestrator.problems.codec import Codec
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.label import ChainLabeller, Labeller, StepLabeller

EXPERIMENT = "lab-training"
"""Where MLflow shows the lab's trainings."""


@dataclass(frozen=True, slots=True)
class VerifierRecipe:
    """How a verifier is made: ``labeller`` over the first ``problems`` puzzles of the train split, and
    ``training`` from the lab model ``backbone``. ``chains``: labelled are attempts of the reviser."""

    labeller: Callable[[Codec, Answers], Labeller]
    problems: int
    backbone: str
    training: TrainConfig
    chains: bool = False


_STEPS = partial(StepLabeller, solutions=4, completions=4)
_PRM = TrainConfig(
    steps=1500,
    batch=64,
    lr=2e-3,
    decay=0.5,
    dropout=0.0,
    extra_layers=3,  # over the generator's own: fine-tuned, those would forget what the verifier needs
    freeze=-1,
    patience=1500,
)
RECIPES = {
    "prm": VerifierRecipe(_STEPS, 3420, "generator-s", _PRM),
    # Shallow and barely trained: for studies of selection errors and over-optimisation.
    "prm-weak": VerifierRecipe(_STEPS, 1140, "generator-s", replace(_PRM, steps=200, extra_layers=1)),
    # Over the reviser's layers, which know what a context of attempts looks like.
    "orm": VerifierRecipe(
        partial(ChainLabeller, chains=4, length=5),
        1330,
        "reviser",
        replace(_PRM, steps=1000, held_out=0.05),
        chains=True,
    ),
}


def label_config(recipe: VerifierRecipe, seed: int, runs: Path) -> Config:
    """The run that samples a recipe's labels: no verifier, and no budget that would end it."""
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
            engine=engine,
        ),
        reviser=ReviserConfig(model=str(LAB_MODELS / "reviser"), format="lab", engine=engine),
        strategy={"name": "revisions" if recipe.chains else "best_of_n"},
        budget=BudgetConfig(flops=1e15),
        tracking=TrackingConfig(experiment="lab"),
        runs=str(runs),
    )
