"""The ``ttc`` command: parse, call, print.

Exit status: 0 done; 2 bad input; 1 failure; 130 interrupted (the journal is intact, and the command
that resumes is printed).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator import launch
from orchestrator.config import load
from orchestrator.errors import BadInput
from orchestrator.launch import say
from orchestrator.prm import commands as verifier


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs the command and exits with its status."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """The exit status of a ``ttc`` command."""
    options = _parsed(arguments)
    errors = Console(stderr=True)
    try:
        return options.command(options, errors)
    except BadInput as error:
        say(errors, f"ttc: {error}", "bold red")
        return 2
    except KeyboardInterrupt:
        say(errors, "interrupted")
        return 130


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before or after options, which argparse alone does not allow in a subcommand."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ttc", description="Search for the best answers that a budget in FLOPs can buy."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="one run: strategy x problems x budget, as one MLflow run")
    run.add_argument("config", help="a YAML file, for example configs/lab.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="for example budget.flops=1e11")
    run.set_defaults(command=_run)

    sweep = commands.add_parser("sweep", help="a grid of runs on the same engines, as nested MLflow runs")
    sweep.add_argument("config", help="a YAML file with a sweep: section, as configs/lab-sweep.yaml")
    sweep.add_argument("overrides", nargs="*", metavar="key=value")
    sweep.set_defaults(command=_sweep)

    resume = commands.add_parser("resume", help="continue a run that was killed or interrupted")
    resume.add_argument("run_id")
    resume.add_argument(
        "overrides", nargs="*", metavar="key=value", help="where it goes on: cluster, replicas, resources"
    )
    resume.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    resume.set_defaults(command=_resume)

    replay = commands.add_parser("replay", help="write to MLflow what runs could not while it was away")
    replay.add_argument("run_id", nargs="*", help="a run or a sweep (default: all)")
    replay.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    replay.set_defaults(command=_replay)

    label = verifier.add_parsers(commands)
    for command in (run, sweep, resume, label):
        command.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")

    fit = commands.add_parser(
        "fit", help="learn from a sweep which strategy to use at which difficulty and budget"
    )
    fit.add_argument("experiment", help="an MLflow experiment, or a directory of runs (a path with a slash)")
    fit.add_argument("--rule", default="weighted", help="the selection rule that counts (default: weighted)")
    fit.add_argument("--samples", type=int, default=4, help="a problem, to tell its difficulty (default: 4)")
    fit.add_argument(
        "--margin",
        type=float,
        default=1.0,
        help="take the cheapest strategy that is within so many standard errors of the best (default: 1)",
    )
    for model in ("generator", "verifier"):
        fit.add_argument(f"--{model}", help="which, where the experiment has difficulty runs of several")
    fit.add_argument("--out", type=Path, default=Path("policy.yaml"), help="(default: policy.yaml)")
    fit.add_argument("--uri", help="the MLflow store (default: the one in --runs)")
    fit.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    fit.add_argument("--json", action="store_true", help="the numbers as one JSON object on stdout")
    fit.set_defaults(command=_fit)

    report = commands.add_parser("report", help="what an experiment's runs say, as one HTML page")
    report.add_argument("experiment", help="an MLflow experiment, or a directory of runs")
    report.add_argument(
        "--rule", default="weighted", help="the selection rule that counts (default: weighted)"
    )
    report.add_argument("--samples", type=int, default=4, help="of a problem, to tell its bin (default: 4)")
    report.add_argument(
        "--price", type=float, help="of an accelerator-hour (default: the runs' cluster.price)"
    )
    report.add_argument("--generator", help="which to report on (default: the one with most cells)")
    report.add_argument(
        "--table",
        nargs="?",
        const="accuracy",
        metavar="NAME",
        help="only print a table, as Markdown: accuracy by difficulty, or savings, matched, fits, …",
    )
    report.add_argument("--out", type=Path, default=Path("report.html"), help="(default: report.html)")
    report.add_argument("--uri", help="the MLflow store (default: the one in --runs)")
    report.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    report.set_defaults(command=_report)

    lab = commands.add_parser("lab", help="the tiny models of the embedded default")
    lab_commands = lab.add_subparsers(required=True, metavar="COMMAND")
    train = lab_commands.add_parser("train", help="train a lab model on this CPU, from a seed; resumable")
    train.add_argument("what", help="generator-s, prm, …: an unknown name lists them all")
    train.add_argument("out", type=Path, help="the directory of the model")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--minutes", type=float, help="stop after that; the same command goes on")
    train.add_argument("--runs", type=Path, default=Path("runs"), help="MLflow's directory (default: runs)")
    train.add_argument("--labels", nargs="+", type=Path, default=[], help="a verifier's (default: sampled)")
    train.set_defaults(command=_lab_train)

    evaluate = lab_commands.add_parser("evaluate", help="measure the lab's models: pass@1, coverage, AUC")
    evaluate.add_argument("--problems", type=int, default=512)
    evaluate.add_argument("--samples", type=int, default=64)
    evaluate.add_argument("--verifier", nargs="+", default=["prm", "prm-weak"], help="(default: both)")
    evaluate.add_argument(
        "--reviser",
        nargs="?",
        const="reviser",
        help="chains of revisions by it (default: reviser), in their place",
    )
    evaluate.set_defaults(command=_lab_evaluate)

    ui = commands.add_parser("ui", help="open the MLflow UI on the runs of this directory")
    ui.add_argument("--runs", default="runs", help="the directory of the runs (default: runs)")
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(command=_ui)
    return parser


def _run(options: argparse.Namespace, errors: Console) -> int:
    return launch.run(load(options.config, options.overrides), options.json, errors)


def _sweep(options: argparse.Namespace, errors: Console) -> int:
    return launch.sweep(options.config, options.overrides, options.json, errors)


def _resume(options: argparse.Namespace, errors: Console) -> int:
    return launch.resume(options.run_id, options.runs, options.overrides, options.json, errors)


def _replay(options: argparse.Namespace, errors: Console) -> int:
    return launch.replay(options.run_id, options.runs, errors)


def _fit(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.analysis.fit_command import run_fit

    return run_fit(
        options.experiment,
        options.out,
        errors,
        rule=options.rule,
        samples=options.samples,
        margin=options.margin,
        generator=options.generator,
        verifier=options.verifier,
        uri=options.uri,
        runs=options.runs,
        as_json=options.json,
    )


def _report(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.analysis.report import run_report

    return run_report(
        options.experiment,
        options.out,
        errors,
        rule=options.rule,
        samples=options.samples,
        price=options.price,
        generator=options.generator,
        uri=options.uri,
        runs=options.runs,
        table=options.table,
    )


def _lab_train(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.lab import verifiers
    from orchestrator.lab.train import train_tracked

    if options.what in verifiers.RECIPES:
        return verifiers.make(
            *(options.what, options.out, options.seed, options.minutes, options.labels, options.runs), errors
        )
    untracked = train_tracked(options.what, options.out, options.seed, options.minutes, options.runs)
    if untracked is not None:
        say(errors, f"warning: {untracked}", "yellow")
    return 0


def _lab_evaluate(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.config import LAB
    from orchestrator.lab.evaluate import evaluate
    from orchestrator.lab.evaluate_reviser import evaluate_reviser

    if options.reviser is not None:
        evaluate_reviser(LAB / "generator-s", LAB / options.reviser, limit=options.problems)
        return 0
    verifiers = [LAB / name for name in options.verifier]
    evaluate(LAB / "generator-s", verifiers, limit=options.problems, samples=options.samples)
    return 0


def _ui(options: argparse.Namespace, errors: Console) -> int:
    from orchestrator.tracking import local_uri

    runs = Path(options.runs)
    if not (runs / "mlflow.db").is_file():
        raise BadInput("--runs", options.runs, "there is no run store yet; start a run first: ttc run CONFIG")
    os.execvp(
        sys.executable,
        [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", local_uri(runs)),
            *("--host", "127.0.0.1", "--port", str(options.port)),
        ],
    )


logging.captureWarnings(True)
