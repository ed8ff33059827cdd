"""``ttc fit EXPERIMENT``: load, fit, write the policy, keep it in MLflow, show what it is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.analysis.difficulty import independent_samples
from orchestrator.analysis.estimators import Estimate
from orchestrator.analysis.evidence import Group
from orchestrator.analysis.fit import Fit, Study, fit, study
from orchestrator.analysis.fits import LogLinear, PowerLaw, coverage_fit
from orchestrator.analysis.policy import write_policy
from orchestrator.analysis.series import series
from orchestrator.analysis.store import find
from orchestrator.errors import BadInput
from orchestrator.launch import say
from orchestrator.tracking import Step, Tracker, local_store, passing

ROLE = "fit"


def run_fit(
    experiment: str,
    out: Path,
    errors: Console,
    *,
    rule: str = "weighted",
    samples: int = 4,
    margin: float = 1.0,
    generator: str | None = None,
    verifier: str | None = None,
    uri: str | None = None,
    runs: str = "runs",
    as_json: bool = False,
) -> int:
    """Fit the policy of an experiment (its name in MLflow, or a directory: a path with a slash) and write
    it to ``out``. An experiment's fit is an MLflow run of role ``fit`` in it, and a version of the
    registered model ``EXPERIMENT-policy``. Raises BadInput."""
    if samples < 1:
        raise BadInput("--samples", samples, "allowed: 1 or more")
    if not margin >= 0:
        raise BadInput("--margin", margin, "allowed: 0 or more")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput("--out", str(out), "allowed: a file in a directory that exists")
    found = find(experiment, uri, runs)
    examined = study(found, rule, generator, verifier)
    learned = fit(examined, samples=samples, margin=margin)
    write_policy(learned.policy, out)
    curves, coverage = laws(examined)
    numbers = to_dict(learned) | {
        "accuracy_fits": {name: asdict(curve) for name, curve in curves.items()},
        "coverage_fit": None if coverage is None else asdict(coverage),
    }
    if as_json:
        print(json.dumps({"policy": str(out), **numbers}))
    else:
        show(learned, Console())
        show_laws(curves, coverage, Console())
        say(errors, f"policy in {out}; to use it: strategy.name=compute_optimal strategy.policy={out}")
    if "/" not in experiment:
        asked = {"rule": rule, "samples": samples, "margin": margin}
        untracked = _track(learned, out, numbers, asked, experiment, uri, runs)
        if untracked is not None:
            say(errors, f"warning: {untracked}", "yellow")
    return 0


def to_dict(learned: Fit) -> dict[str, Any]:
    """The numbers of a fit: agreement of the bins, and by kind of bins the comparisons with best-of-N."""
    return {
        "agreement": asdict(learned.agreement),
        "charged": {name: asdict(each) for name, each in learned.charged.items()},
        "uncharged": {name: asdict(each) for name, each in learned.uncharged.items()},
    }


def laws(examined: Study) -> tuple[dict[str, LogLinear], PowerLaw | None]:
    """Accuracy against FLOPs of each curve of two points or more, and the coverage of the difficulty run's
    samples (None: too few, or all or none solved)."""
    curves = series(Group(examined.difficulty.models, examined.options))
    fits = {curve.label: found for curve in curves if (found := curve.fit(examined.rule)) is not None}
    try:
        return fits, coverage_fit(*independent_samples([examined.difficulty]))
    except ValueError:
        return fits, None


def show_laws(curves: Mapping[str, LogLinear], coverage: PowerLaw | None, console: Console) -> None:
    """A table of the curves, and a line for coverage."""
    table = Table(title="accuracy = α + β · log₂ FLOPs, in points, ± standard errors", title_justify="left")
    for name in ("", "α", "β", "plateau"):
        table.add_column(name, justify="right" if name else "left")
    for name, curve in curves.items():
        line = (f"{100 * each.value:.1f} ± {100 * each.error:.1f}" for each in (curve.alpha, curve.beta))
        level = (
            curve.plateau
            and f"{100 * curve.plateau.accuracy.value:.1f} from {2**curve.plateau.log2_flops.value:.3g}"
        )
        table.add_row(name, *line, level or "none")
    console.print(table)
    if coverage is not None:
        a, b = (f"{each.value:.3f} ± {each.error:.3f}" for each in (coverage.a, coverage.b))
        console.print(f"coverage of k samples = exp(a · k^b), a = {a}, b = {b}", highlight=False)


def show(learned: Fit, console: Console) -> None:
    """Three tables: the policy, its accuracy by budget, what it saves."""
    policy = learned.policy
    chosen = Table(title=f"policy ({policy.rule}; bins by {policy.samples} samples)", title_justify="left")
    chosen.add_column("FLOPs a problem", justify="right")
    for number in range(1, len(policy.thresholds) + 2):
        chosen.add_column(f"bin {number}")
    for row in policy.rows:
        chosen.add_row(f"{row.budget:.3g}", *(_words(choice.strategy) for choice in row.bins))
    console.print(chosen)

    levels = Table(title="on problems it was not chosen on", title_justify="left")
    for name in ("bins", "FLOPs a problem", "accuracy", "best-of-N at these FLOPs", "difference"):
        levels.add_column(name, justify="left" if name == "bins" else "right")
    for name, comparison in _kinds(learned):
        for level in comparison.levels:
            cells = (level.accuracy, level.baseline, level.difference)
            levels.add_row(name, f"{level.flops:.3g}", *(_interval(each, 100, ".1f") for each in cells))
        levels.add_section()
    console.print(levels)

    savings = Table(title="best-of-N's FLOPs over the policy's, at equal accuracy", title_justify="left")
    savings.add_column("best-of-N")
    savings.add_column("accuracy", justify="right")
    for name, _ in _kinds(learned):
        savings.add_column(name, justify="right")
    for each in zip(*(comparison.savings for _, comparison in _kinds(learned)), strict=True):
        factors = [
            ("≥ " if s.at_least else "") + _interval(s.factor, 1, ".2f") if s.flops else "not reached"
            for s in each
        ]
        savings.add_row(f"{each[0].baseline}", f"{100 * each[0].accuracy:.1f}", *factors)
    console.print(savings)
    agreement = learned.agreement
    console.print(
        f"predicted against oracle bins: {100 * agreement.exact:.0f} % the same, "
        f"{100 * agreement.within_one:.0f} % within one, Spearman {agreement.spearman:.2f}; "
        f"the estimate costs {agreement.flops:.3g} FLOPs a problem",
        highlight=False,
    )


def _kinds(learned: Fit) -> Iterator[tuple[str, Any]]:
    for bins in learned.charged:
        yield bins, learned.uncharged[bins]
        yield f"{bins}, estimate charged", learned.charged[bins]


def _words(strategy: Any) -> str:
    return " ".join([str(strategy["name"]), *(f"{k}={v}" for k, v in strategy.items() if k != "name")])


def _interval(estimate: Estimate, scale: float, form: str) -> str:
    value, low, high = (f"{scale * x:{form}}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


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
    name = f"fit-{datetime.now():%Y%m%d-%H%M%S}"
    tags = {"ttc.run_id": name, "ttc.role": ROLE}
    tracker = Tracker(runs, passing("fit"), experiment, asked, uri=uri, title=name, tags=tags)
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
        return f"the policy is not registered in {uri}: {str(error).splitlines()[0]}"
    return None
