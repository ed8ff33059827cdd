"""``ttc lab train`` and ``ttc lab evaluate``: the tiny models of the embedded default."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.terminal import results, say

if TYPE_CHECKING:
    from orchestrator.lab.verifiers import VerifierRecipe

MODELS = {
    "lab": ("generator-s", ("prm", "prm-weak")),
    "coins": ("coins-generator-s", ("coins-prm", "coins-prm-weak")),
}
"""The generator that ``ttc lab evaluate`` measures for each task, and its verifiers."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb and its commands to the command's parser."""
    parser = commands.add_parser("lab", help="train and measure the tiny models of the embedded default")
    lab_commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(group=parser)
    train = lab_commands.add_parser(
        "train",
        epilog="for example: ttc lab train generator-s build/generator",
        help="train a lab model on this CPU, from a seed; resumable",
    )
    train.add_argument("what", help="generator-s, prm, …: an unknown name lists them all")
    train.add_argument("out", type=Path, help="the directory of the model")
    train.add_argument(
        "--seed", type=int, default=0, help="the seed of the weights and the data (default: 0)"
    )
    train.add_argument("--minutes", type=float, help="stop after that; the same command goes on")
    train.add_argument("--runs", type=Path, default=Path("runs"), help="MLflow's directory (default: runs)")
    train.add_argument(
        "--labels", nargs="+", type=Path, default=[], help="a verifier's labels (default: they are sampled)"
    )
    train.set_defaults(command=_train)

    evaluate = lab_commands.add_parser("evaluate", help="measure the lab's models: pass@1, coverage, AUC")
    evaluate.add_argument("--problems", type=int, default=512, help="test problems (default: 512)")
    evaluate.add_argument("--samples", type=int, default=64, help="samples of a problem (default: 64)")
    evaluate.add_argument("--task", choices=tuple(MODELS), default="lab", help="the task (default: lab)")
    evaluate.add_argument("--verifier", nargs="+", help="the verifiers (default: all PRMs of the task)")
    evaluate.add_argument(
        "--reviser",
        nargs="?",
        const="reviser",
        help="chains of revisions by it (default: reviser), in their place",
    )
    evaluate.set_defaults(command=_evaluate)


def _train(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.lab import verifiers
    from orchestrator.lab.train import train_tracked

    if options.what in verifiers.RECIPES:
        return make_verifier(
            *(options.what, options.out, options.seed, options.minutes, options.labels, options.runs), errors
        )
    untracked = train_tracked(options.what, options.out, options.seed, options.minutes, options.runs)
    if untracked is not None:
        say(errors, f"warning: {untracked}", "yellow")
    return 0


def _evaluate(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.config.schema import LAB_MODELS
    from orchestrator.lab.evaluate import evaluate
    from orchestrator.lab.evaluate_reviser import evaluate_reviser

    log = partial(print, file=results())
    if options.reviser is not None:
        reviser = LAB_MODELS / options.reviser
        evaluate_reviser(LAB_MODELS / "generator-s", reviser, limit=options.problems, log=log)
        return 0
    generator, verifiers = MODELS[options.task]
    evaluate(
        LAB_MODELS / generator,
        [LAB_MODELS / name for name in options.verifier or verifiers],
        options.task,
        limit=options.problems,
        samples=options.samples,
        log=log,
    )
    return 0


def make_verifier(
    what: str,
    out: Path,
    seed: int,
    minutes: float | None,
    labels: Sequence[Path],
    runs: Path,
    errors: Console,
) -> int:
    """Trains the verifier ``what`` (a key of ``RECIPES``) to directory ``out``. Returns the exit status.

    Without ``labels`` they are sampled first, to a file beside ``out`` that a second call finds there.
    ``minutes`` bounds the training, not the sampling.
    """
    from orchestrator.commands import verifier
    from orchestrator.config.schema import LAB_MODELS
    from orchestrator.lab.tasks import TASKS
    from orchestrator.lab.verifiers import EXPERIMENT, RECIPES

    recipe = RECIPES[what]
    if not labels:
        labels = [out.with_name(f"{out.name}-labels.parquet")]
        if not labels[0].is_file():
            status = _label(recipe, seed, labels[0], runs, errors)
            if status:
                return status
    verifier.train(
        list(labels),
        str(LAB_MODELS / recipe.backbone),
        out,
        replace(recipe.training, seed=seed),
        runs,
        errors,
        experiment=EXPERIMENT,
        minutes=minutes,
        augment=TASKS[recipe.task].renamed,
    )
    return 0


def _label(recipe: VerifierRecipe, seed: int, out: Path, runs: Path, errors: Console) -> int:
    """Writes the labels of a verifier's recipe to ``out``. Returns the exit status."""
    from orchestrator.commands import verifier
    from orchestrator.config.schema import LAB_MODELS
    from orchestrator.lab.labels import labelled_samples
    from orchestrator.lab.tasks import TASKS
    from orchestrator.lab.verifiers import label_config
    from orchestrator.verifiers.label import write_labels

    if not isinstance(recipe.labeller, int):
        return verifier.label(label_config(recipe, seed, runs), recipe.labeller, out, False, errors)
    generator = LAB_MODELS / recipe.backbone
    rows = labelled_samples(TASKS[recipe.task], generator, recipe.problems, recipe.labeller, seed)
    write_labels(list(rows), out)
    return 0
