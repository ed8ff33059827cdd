"""``ttc fit EXPERIMENT``: learn from a sweep which strategy to use at which difficulty and budget."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.commands.terminal import (
    add_experiment_options,
    check_out,
    console,
    results,
    say,
    say_untracked,
    show_json,
)
from orchestrator.errors import BadInput, at_least, in_one_line

if TYPE_CHECKING:
    from orchestrator.analysis.policy_fit import Fit, Study
    from orchestrator.analysis.scaling_laws import LogLinear, PowerLaw
    from orchestrator.tracking.tracker import Step

ROLE = "fit"


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "fit",
        epilog="for example: ttc fit lab",
        help="learn from a sweep which strategy to use at which difficulty and budget",
    )
    add_experiment_options(parser)
    parser.add_argument(
        "--samples", type=int, default=4, help="samples that tell a problem's difficulty (default: 4)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=1.0,
        help="take the cheapest strategy that is within so many standard errors of the best (default: 1)",
    )
    for model in ("generator", "verifier"):
        parser.add_argument(
            f"--{model}", help=f"the {model} that counts, where the experiment has difficulty runs of several"
        )
    parser.add_argument(
        "--out", type=Path, default=Path("policy.yaml"), help="the policy's file (default: policy.yaml)"
    )
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object on stdout")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Fit the policy of an experiment; return the exit status."""
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


def run_fit(
    experiment: str,
    out: Path,
    errors: Console,
    *,
    rule: str | None = None,
    samples: int = 4,
    margin: float = 1.0,
    generator: str | None = None,
    verifier: str | None = None,
    uri: str | None = None,
    runs: str = "runs",
    as_json: bool = False,
) -> int:
    """Fits the policy of an experiment (its name in MLflow, a sweep's, or a directory: a path with a slash)
    and writes it to ``out``. Returns the exit status.

    An experiment's fit is an MLflow run of role ``fit`` in it, and a version of the
    registered model ``EXPERIMENT-policy``. Raises BadInput."""
    from orchestrator.allocation.policy import write_policy
    from orchestrator.analysis.policy_fit import fit, study
    from orchestrator.analysis.store import find, moved_from
    from orchestrator.commands.fit_display import show, show_laws, warning

    at_least("--samples", samples, 1)
    if not margin >= 0:
        raise BadInput("--margin", margin, "allowed: 0 or more")
    check_out(out)
    found = find(experiment, uri, runs)
    examined = study(found, rule, generator, verifier)
    learned = fit(examined, samples=samples, margin=margin)
    write_policy(learned.policy, out)
    curves, coverage = laws(examined)
    for line in examined.left_out:
        say(errors, f"left out: {line}", "yellow")
    if (worse := warning(learned)) is not None:
        say(errors, f"warning: {worse}", "yellow")
    numbers = to_dict(learned) | {
        "failed": sum(option.failed for option in examined.options),
        "left_out": list(examined.left_out),
        "accuracy_fits": {name: asdict(curve) for name, curve in curves.items()},
        "coverage_fit": None if coverage is None else asdict(coverage),
    }
    if as_json:
        show_json({"policy": str(out), **numbers})
    else:
        show(learned, console(results()))
        show_laws(curves, coverage, console(results()))
        say(errors, f"policy in {out}; to use it: strategy.name=compute_optimal strategy.policy={out}")
    if (kept_in := found.kept_in) is not None:
        asked = {"rule": examined.rule, "samples": samples, "margin": margin}
        say_untracked(
            errors,
            moved_from(kept_in, uri, runs),
            lambda: _track(learned, out, numbers, asked, kept_in, uri, runs),
        )
    return 0


def to_dict(learned: Fit) -> dict[str, Any]:
    """Returns the numbers of a fit: agreement of the bins, and by kind of bins the comparisons with
    best-of-N."""
    return {
        "agreement": asdict(learned.agreement),
        "charged": {name: asdict(each) for name, each in learned.charged.items()},
        "uncharged": {name: asdict(each) for name, each in learned.uncharged.items()},
    }


def laws(examined: Study) -> tuple[dict[str, LogLinear], PowerLaw | None]:
    """Returns accuracy against FLOPs of each curve of two points or more, and the coverage of the difficulty
    run's samples (None: too few, or all or none solved)."""
    from orchestrator.analysis.difficulty import independent_samples
    from orchestrator.analysis.scaling_laws import coverage_fit
    from orchestrator.report.evidence import Group
    from orchestrator.report.series import series

    curves = series(Group(examined.difficulty.models, examined.options))
    fits = {curve.label: found for curve in curves if (found := curve.fit(examined.rule)) is not None}
    try:
        return fits, coverage_fit(*independent_samples([examined.difficulty]))
    except ValueError:
        return fits, None


def _track(
    learned: Fit,
    out: Path,
    numbers: dict[str, Any],
    asked: dict[str, Any],
    experiment: str,
    uri: str | None,
    runs: str,
) -> str | None:
    """Keep the fit in MLflow; what could not be written, or None."""
    from orchestrator.tracking.tracker import Tracker, local_store, tags_about, temporary_run_id

    name = f"fit-{datetime.now():%Y%m%d-%H%M%S}"
    tags = {"ttc.run_id": name, "ttc.role": ROLE, **tags_about(runs, experiment, uri)}
    title = f"policy of {experiment}, {datetime.now():%Y-%m-%d %H:%M}"
    tracker = Tracker(runs, temporary_run_id("fit"), experiment, asked, uri=uri, title=title, tags=tags)
    tracker.describe(title, f"`ttc fit {experiment}`: the policy is `policy.yaml` among the artifacts.")
    tracker.metrics(list(_metrics(learned)))
    for file, text in (("policy.yaml", out.read_text()), ("fit.json", json.dumps(numbers, indent=2))):
        (tracker.directory / file).write_text(text)
        tracker.artifact(tracker.directory / file)
    failure = tracker.close()
    if failure is None and tracker.mlflow_run_id is not None:
        failure = _register(f"{experiment}-policy", tracker.mlflow_run_id, local_store(uri, runs)[0])
    return failure


def _metrics(learned: Fit) -> Iterator[Step]:
    """Accuracy against FLOPs, and the savings; a step is 10⁶ FLOPs a problem, as in a run's curve."""
    yield "agreement/spearman", learned.agreement.spearman, 0
    yield "agreement/exact", learned.agreement.exact, 0
    yield "agreement/within_one", learned.agreement.within_one, 0
    for paid, comparisons in (("charged", learned.charged), ("uncharged", learned.uncharged)):
        for bins, comparison in comparisons.items():
            for level in comparison.levels:
                step = int(level.flops // 1_000_000)
                yield f"{bins}_{paid}/accuracy", level.accuracy.value, step
                yield f"{bins}_{paid}/accuracy_of_best_of_n", level.baseline.value, step
            for saving in comparison.savings:
                yield f"{bins}_{paid}/saving", saving.factor.value, int(saving.baseline_flops // 1_000_000)


def _register(name: str, run: str, uri: str) -> str | None:
    """A version of the registered model ``name``: the policy of this run. What failed, or None."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="Compute-optimal policies, from ttc fit.")
        source = client.get_run(run).info.artifact_uri
        client.create_model_version(name, source=source, run_id=run)
    except MlflowException as error:
        return f"the policy is not registered in {uri}: {in_one_line(error)}"
    return None
