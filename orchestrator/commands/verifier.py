"""``ttc verifier label``, ``train`` and ``convert``: label steps by rollouts, train a verifier on them, and
write one with a value head as vLLM serves it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands import launch
from orchestrator.commands.terminal import (
    add_run_options,
    check_out,
    directory_in,
    goes_on_with,
    note_failure,
    results,
    say,
    with_log_level,
)
from orchestrator.config.loading import load
from orchestrator.config.reference import sentences
from orchestrator.config.schema import BudgetConfig, Config
from orchestrator.errors import BadInput
from orchestrator.verifiers.config import TrainConfig

if TYPE_CHECKING:
    from orchestrator.grading.grader import Grader
    from orchestrator.problems.codec import Codec
    from orchestrator.verifiers.label import Labeller
    from orchestrator.verifiers.train import Augment


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb and its commands to the command's parser."""
    verifier = commands.add_parser("verifier", help="label steps by rollouts, train a verifier, convert one")
    own = verifier.add_subparsers(metavar="COMMAND")
    verifier.set_defaults(group=verifier)

    label = own.add_parser(
        "label",
        epilog="for example: ttc verifier label configs/lab.yaml labels.parquet",
        help="sample solutions and, from each of their steps, completions: soft labels as Parquet",
    )
    label.add_argument(
        "config",
        help="a YAML file; its generator, reviser, problems, and budget in flops or tokens count",
    )
    label.add_argument("out", type=Path, help="the Parquet file to write")
    label.add_argument("overrides", nargs="*", metavar="key=value", help="keys that differ from the file's")
    label.add_argument("--solutions", type=int, default=16, help="solutions of a problem (default: 16)")
    label.add_argument("--completions", type=int, default=16, help="completions of a step (default: 16)")
    label.add_argument("--chains", type=int, help="for an ORM: label attempts of so many chains instead")
    label.add_argument("--length", type=int, default=5, help="attempts a chain (default: 5)")
    label.add_argument("--resume", metavar="RUN_ID", help="go on with a labelling that was interrupted")
    add_run_options(label)
    label.set_defaults(command=_label)

    train = own.add_parser(
        "train",
        epilog="for example: ttc verifier train labels.parquet --backbone MODEL --out prm",
        help="train a verifier on such labels; resumable",
    )
    train.add_argument("labels", nargs="+", type=Path, metavar="LABELS.parquet", help="files of labels")
    train.add_argument(
        "--backbone", required=True, help="a causal language model, or a verifier: a directory or a hub id"
    )
    train.add_argument("--out", required=True, type=Path, help="the directory of the verifier")
    described = sentences(TrainConfig)
    for option in fields(TrainConfig):
        kind = _layers if option.name == "freeze" else type(option.default)
        name, what = "--" + option.name.replace("_", "-"), described[option.name].rstrip(".")
        text = f"{what[0].lower()}{what[1:]} (default: {option.default:g})"
        train.add_argument(name, type=kind, default=option.default, help=text)
    train.add_argument("--minutes", type=float, help="stop after that; the same command goes on")
    train.add_argument("--runs", default="runs", help="whose MLflow store gets the curves (default: runs)")
    train.add_argument("--no-tracking", action="store_true", help="leave MLflow alone")
    train.set_defaults(command=_train)

    convert = own.add_parser(
        "convert",
        epilog="for example: ttc verifier convert MODEL prm",
        help="write a verifier with a value head as vLLM serves it",
    )
    convert.add_argument("model", help="a directory or a hub id, such as Skywork's PRM")
    convert.add_argument("out", type=Path, help="the directory to write")
    convert.set_defaults(command=_convert)


def _layers(text: str) -> int:
    """Returns the number of layers to freeze; ``all`` is -1."""
    return -1 if text == "all" else int(text)


def _label(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.errors import at_least
    from orchestrator.verifiers.label import ChainLabeller, StepLabeller

    chained = options.chains is not None
    for name in ("chains", "length") if chained else ("solutions", "completions"):
        at_least(f"--{name}", getattr(options, name), 1)
    strategy = "revisions" if chained else "best_of_n"
    # Equal shares: a problem that is stopped once its answer is sure would have no labels.
    own = ["verifier.model=null", f"strategy.name={strategy}", "allocation.name=uniform"]
    config = load(options.config, [*with_log_level(options), *own])
    make: Callable[[Codec, Grader], Labeller] = (
        partial(ChainLabeller, chains=options.chains, length=options.length)
        if chained
        else partial(StepLabeller, solutions=options.solutions, completions=options.completions)
    )
    return label(config, make, options.out, options.json, errors, run_id=options.resume)


def label(
    config: Config,
    make: Callable[[Codec, Grader], Labeller],
    out: Path,
    as_json: bool,
    errors: Console,
    *,
    run_id: str | None = None,
) -> int:
    """Runs ``config`` with a labeller in its strategy's place, and writes what it learns to ``out``.

    Returns the exit status, 1 where no problem could be labelled. ``run_id`` names a run that goes on.

    A budget in FLOPs or tokens is kept to, and how many problems it does not pay for is said. One in
    generations, which are a search's and not rollouts, makes way for one that pays the worst case of each.
    """
    from orchestrator.analysis.store import LABEL
    from orchestrator.budget.units import in_flops
    from orchestrator.config.preparation import prepare, with_budget
    from orchestrator.grading.grader import Grader
    from orchestrator.runs.run import new_run_id
    from orchestrator.verifiers.label import write_labels

    with suppress(OSError):  # then the check says why
        out.parent.mkdir(parents=True, exist_ok=True)
    check_out(out, "out")
    prepared = prepare(replace(config, name=f"{config.name}-label"))
    grader = Grader(prepared.checker, end_of_thinking=config.generator.end_of_thinking)
    labeller = make(prepared.codec, grader)
    longest = max(map(len, prepared.prompts))
    worst = len(prepared.problems) * labeller.worst(prepared, longest)
    worst += worst >> 52  # as a float it must not be less
    if config.budget.units == ["generations"]:
        whole = BudgetConfig(flops=float(worst), solution_tokens=config.budget.solution_tokens)
        prepared = with_budget(prepared, whole)
        say(errors, f"labels cost {in_flops(worst)} at most, all at full length; budget.flops sets a limit")
    if run_id is not None and directory_in(config.runs, run_id) is None:
        raise BadInput("--resume", run_id, f"allowed: a run in {config.runs}/")
    run_id = run_id or new_run_id(prepared.config)
    status = launch.run(
        prepared,
        as_json,
        errors,
        run_id=run_id,
        search=labeller,
        role=LABEL,
        instead=labeller.name,
    )
    if status == 130:
        say(errors, f"to go on: the same command with --resume {run_id}")
        goes_on_with(lambda: f"the same command with --resume {run_id}")
        return status
    if labeller.unpaid:
        dropped = f"{len(labeller.unpaid)} of {len(prepared.problems)} problems are not labelled"
        enough = (
            f"the budget does not pay for their rollouts; budget.flops={1.01 * worst:.3g} is enough for all"
        )
        say(errors, f"warning: {dropped}: {enough}", "yellow")
    if not labeller.rows:
        say(errors, f"no solution is labelled; {out} is not written", "bold red")
        note_failure(f"no solution is labelled; {out} is not written")
        return 1
    write_labels(labeller.rows, out)
    say(errors, f"{len(labeller.rows)} labelled solutions in {out}")
    return status


def _train(options: argparse.Namespace, errors: Console) -> int:
    config = TrainConfig(**{option.name: getattr(options, option.name) for option in fields(TrainConfig)})
    runs = None if options.no_tracking else Path(options.runs)
    train(options.labels, options.backbone, options.out, config, runs, errors, minutes=options.minutes)
    return 0


def _convert(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.verifiers.convert import convert

    convert(options.model, options.out)
    say(errors, f"written: {options.out}; use it as verifier.model={options.out}")
    return 0


def train(
    labels: list[Path],
    backbone: str,
    out: Path,
    config: TrainConfig,
    runs: Path | None,
    errors: Console,
    *,
    experiment: str = "verifier",
    minutes: float | None = None,
    augment: Augment | None = None,
) -> None:
    """Trains a verifier, prints how good it is, and logs its curves to the MLflow store of ``runs`` (None: to
    none)."""
    config.check()
    from orchestrator.tracking.tracker import Tracker, temporary_run_id
    from orchestrator.verifiers.label import read_labels
    from orchestrator.verifiers.measures import describe
    from orchestrator.verifiers.train import train

    rows = read_labels(labels)
    tracker = None
    if runs is not None:
        params = {"backbone": backbone, "solutions": len(rows), **asdict(config)}
        tracker = Tracker(runs, temporary_run_id(out.name), experiment, params, title=out.name)
    track = tracker.metrics if tracker is not None else lambda metrics: None
    status = "FAILED"
    try:
        measures = train(rows, backbone, out, config, augment=augment, minutes=minutes, track=track)
        status = "KILLED" if measures is None else "FINISHED"
    finally:
        untracked = tracker.close(status) if tracker is not None else None
    if untracked is not None:
        say(errors, f"warning: {untracked}", "yellow")
    if measures is not None:
        print(describe(measures), file=results())
