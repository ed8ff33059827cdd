"""Reads finished runs from an MLflow experiment or from a directory of runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import msgspec
import numpy as np

from orchestrator.analysis.baseline import COLUMNS, Baseline, BaselineByProblem
from orchestrator.analysis.cells import COSTS, SELECTION, Cell
from orchestrator.analysis.failures import commonest, failure, too_many
from orchestrator.errors import BadInput, in_one_line, meant, one_of
from orchestrator.tracking.about import deleted
from orchestrator.tracking.tracker import local_store
from orchestrator.tracking.uri import check_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LABEL = "label"
"""Role of a run whose solutions are labelled to train a verifier; it is not compared."""
DIFFICULTY = "difficulty"
"""Role of a run whose samples only sort the problems into bins."""
SWEPT, CONFIG, SUMMARY = "sweep.yaml", "config.yaml", "summary.json"
"""Files in the directories of a sweep, of a run, and of a run that has ended."""
CELLS = "cells"
"""The directory, in a sweep's, that holds its runs."""
COUNTS = {
    "unscored": ("search/unscored", "unscored"),
    "skipped": ("problems/skipped",),
    "compared": ("search/compared", "compared"),
    "copies": ("search/copies", "copies"),
}
"""Names of a cell's counts, and of their metrics in MLflow; the later ones are of earlier versions."""


@dataclass(frozen=True)
class Experiment:
    """The finished runs of one study."""

    name: str
    cells: Sequence[Cell]
    """Runs that are compared."""
    difficulty: Sequence[Cell]
    """Runs whose samples only sort the problems into bins."""
    left_out: Sequence[str] = ()
    """Runs that are not used since too many of their searches broke (``MOST_FAILED``), each in a line."""
    kept_in: str | None = None
    """The MLflow experiment that keeps what is learned of these runs; None for a directory of runs."""
    run: Path | None = None
    """The directory of the only run; None where there may be several."""


def find(experiment: str, uri: str | None, runs: str) -> Experiment:
    """Reads the experiment that a user names.

    A name with a slash is a directory of runs. Any other name is an MLflow experiment, in the store ``uri``
    or in the store of the directory ``runs``, whose own files are read first: it may have been moved. Where
    no experiment has the name, it is that of a sweep or a run in ``runs``, or the id of a run in the store.
    Raises BadInput where it is not there or has no finished run.
    """
    beside = Path(runs) / experiment
    if "/" in experiment:
        elsewhere = Path(experiment).is_dir() or not beside.is_dir()
        return load_directory(Path(experiment) if elsewhere else beside)
    check_uri(uri, "--uri")
    there = uri is not None or (Path(runs) / "mlflow.db").is_file()
    store, ours = local_store(uri, runs)[0], [beside / SWEPT, beside / CONFIG]
    begun = next((file for file in ours if file.is_file()), None)
    if there and not (begun is not None and experiment not in _experiments(store)):
        return load(experiment, store, Path(runs) if uri is None else None)
    if begun is not None:
        found = load_directory(beside)
        if found.run is not None:
            return found
        tracking = _yaml(begun).get("tracking") or {}
        kept = there and (uri is not None or tracking.get("uri") is None)
        return replace(found, kept_in=tracking.get("experiment") if kept else None)
    raise BadInput(
        "--runs", runs, "there is no run store; allowed: the directory of your runs (their key runs)"
    )


def _experiments(uri: str) -> list[str]:
    """The names of a store's experiments, but for MLflow's own where there are others."""
    from mlflow import MlflowClient

    names = sorted(experiment.name for experiment in MlflowClient(tracking_uri=uri).search_experiments())
    return [name for name in names if name != "Default"] or names


def moved_from(experiment: str, uri: str | None, runs: str) -> str | None:
    """Returns the place where MLflow would write artifacts of an experiment in the store beside ``runs``, if
    that is gone since the directory was moved: MLflow keeps whole paths. None where they can be written."""
    if uri is not None:
        return None
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri=local_store(uri, runs)[0]).get_experiment_by_name(experiment)
    place = str(found.artifact_location) if found is not None else ""
    there = not place.startswith("file:") or Path(unquote(urlparse(place).path)).is_dir()
    return None if there else place


def load(experiment: str, uri: str, runs: Path | None = None) -> Experiment:
    """Reads all finished runs of an MLflow experiment, with their files in the directory ``runs``, if any.

    The name may be the id of one run. Runs without a role (``ttc run``) count as cells. Of two runs with one
    run id (a resumed run) the later one counts. Raises BadInput where the store has no such experiment or
    run, or the experiment has no finished run.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        named = _runs_named(client, experiment)
        if not named:
            raise BadInput("experiment", experiment, _known(experiment, uri, runs))
        experiment = client.get_experiment(named[0].info.experiment_id).name
    elif (why := deleted(found)) is not None:
        raise BadInput("experiment", experiment, why)
    else:
        named = [*_runs(client, found.experiment_id)]
    latest = {run.data.tags.get("ttc.run_id", run.info.run_id): run for run in named}
    cells = []
    for name, run in latest.items():
        with _readable(name):
            cells.append(_cell(run, uri, runs))
    return replace(_experiment(experiment, cells), kept_in=experiment)


def _runs_named(client: MlflowClient, run_id: str) -> list[Run]:
    """The finished runs of one id in all experiments of a store, the earliest first; none where no filter can
    hold the id."""
    if "'" in run_id or "\\" in run_id:
        return []
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(places, f"tags.`ttc.run_id` = '{run_id}'")
    ended = [run for run in found if "flops/budget" in run.data.metrics and _ended(run)]
    return sorted(ended, key=lambda run: int(run.info.start_time))


def _known(given: str, uri: str, runs: Path | None) -> str:
    """What an experiment may be called in a store, and how a run is."""
    sweeps = sorted(path.parent.name for path in runs.glob(f"*/{SWEPT}")) if runs is not None else []
    names = dict.fromkeys([*_experiments(uri), *sweeps])
    begun = sorted(path.parent.name for path in runs.glob(f"*/{CONFIG}")) if runs is not None else []
    near = meant(given, begun) if given not in names else ""
    example = f", such as {begun[-1]}" if begun else ""
    return f"{near or meant(given, names)}{one_of(names)} (in {uri}), or the id of a run{example}"


def load_directory(directory: Path) -> Experiment:
    """Reads all runs with a summary in a directory, or in the ``cells`` of a sweep's directory. The directory
    may be a run's own.

    Raises BadInput where there are none.
    """
    alone = (directory / SUMMARY).is_file()
    if (directory / CONFIG).is_file() and not alone:
        needed = f"this run has not ended; go on with it first: ttc resume {directory.name}"
        raise BadInput("experiment", str(directory), needed)
    found = [directory / SUMMARY] if alone else []
    found += [*directory.glob(f"*/{SUMMARY}"), *directory.glob(f"{CELLS}/*/{SUMMARY}")]
    cells = []
    for path in sorted(found):
        with _readable(path.parent):
            cells += _cells_in(path.parent)
    whole = directory.resolve()
    name = whole.parent.name if whole.name == CELLS else whole.name
    return replace(_experiment(name, cells), run=directory if alone else None)


class _Flops(msgspec.Struct):
    budget: float


class _Told(msgspec.Struct):
    """What a summary has to tell, whatever else it has."""

    run_id: str
    flops: _Flops
    seconds: float


def _cells_in(run: Path) -> list[Cell]:
    """The cell of a run's directory; none where its solutions are labels."""
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    role = summary.get("role", "cell")
    if role == LABEL:
        return []
    if run.name.startswith(DIFFICULTY):  # the summaries of older runs have no role
        role = DIFFICULTY
    told = msgspec.convert(summary, _Told)
    cell = read_cell(
        told.run_id,
        role,
        _yaml(run / CONFIG),
        told.flops.budget,
        told.seconds,
        run / "results.parquet",
        {name: int(summary.get(name, 0)) for name in COUNTS},
        _baseline(summary),
    )
    return [cell]


@contextmanager
def _readable(run: object) -> Iterator[None]:
    """Raises BadInput that names the run where its files are not what a run writes, whatever is wrong."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        needed = f"its files cannot be read ({in_one_line(error)}): leave it out, or put a copy in its place"
        raise BadInput("experiment", str(run), needed) from error


def _experiment(name: str, cells: Sequence[Cell]) -> Experiment:
    if not cells:
        raise BadInput("experiment", name, "it has no finished run yet; start one first: ttc sweep CONFIG")
    kept, left_out = [], []
    for cell in cells:
        why = failure(int(cell.failed.sum()), len(cell.problems), commonest(cell.errors))
        if why is None:
            kept.append(cell)
        else:
            left_out.append(f"run {cell.run_id} has failed: {why}")
    if not kept:
        all_of = "its only run has" if len(cells) == 1 else f"all of its {len(cells)} runs have"
        raise BadInput("experiment", name, f"{all_of} failed; {left_out[0]}")
    return Experiment(
        name,
        [cell for cell in kept if cell.role != DIFFICULTY],
        [cell for cell in kept if cell.role == DIFFICULTY],
        left_out,
    )


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """Yields the experiment's finished runs that searched, earliest first, without those that label. A run of
    which too many searches broke has ended too, as FAILED."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            "attributes.status != 'RUNNING'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        searched = (run for run in page if "flops/budget" in run.data.metrics and _ended(run))
        yield from (run for run in searched if run.data.tags.get("ttc.role") != LABEL)
        token = page.token
        if not token:
            return


def _ended(run: Run) -> bool:
    metrics = run.data.metrics
    broken = too_many(int(metrics.get("problems/failed", 0)), int(metrics.get("problems/total", 1)))
    return bool(run.info.status == "FINISHED" or (run.info.status == "FAILED" and broken))


def read_cell(
    run_id: str,
    role: str,
    config: Mapping[str, Any],
    budget: float,
    seconds: float,
    results: Path,
    counts: Mapping[str, int] | None = None,
    baseline: Baseline | None = None,
) -> Cell:
    """Reads a cell from its table of results.

    ``budget`` are the FLOPs and ``seconds`` the wall time of all problems together; ``counts`` and
    ``baseline`` are as in a cell.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    names = [name for name in file.schema_arrow.names if name.startswith("correct_")]
    later = [
        name for name in ("seconds", "error") if name in file.schema_arrow.names
    ]  # older tables lack them
    beside = [name for name in COLUMNS if name in file.schema_arrow.names]
    costs = [*COSTS, *(name for name in {*SELECTION.values()} if name in file.schema_arrow.names)]
    table = file.read(columns=["problem", "covered", "exhausted", *costs, *later, *beside, *names])
    columns = {
        name: table[name].to_numpy() for name in table.column_names if name not in ("problem", "error")
    }
    if "selection_flops" in costs and "selection_tokens" not in costs:  # of a version that did not count them
        of_flops = columns["selection_flops"] / np.maximum(columns["generator_flops"], 1)
        columns["selection_tokens"] = np.round(of_flops * columns["generator_tokens"]).astype(int)
        costs.append("selection_tokens")
    return Cell(
        run_id,
        role,
        config,
        budget / len(table),
        tuple(table["problem"].to_pylist()),
        {name.removeprefix("correct_"): columns[name] for name in names},
        columns["covered"],
        columns["exhausted"],
        {name: columns[name] for name in costs},
        columns["seconds"] if "seconds" in later else np.full(len(table), np.nan),
        results,
        seconds,
        table["error"].to_pylist() if "error" in later else (),
        dict(counts or {}),
        baseline,
        _by_problem(table) if beside else None,
    )


def _by_problem(table: Any) -> BaselineByProblem | None:
    """What the baseline reaches on each problem; None where that is not known, as of a run that was
    graded again."""
    one, majority = (table[name] for name in COLUMNS)
    if one.null_count or majority.null_count:
        return None
    return BaselineByProblem(one.to_numpy(), majority.to_numpy())


def _cell(run: Run, uri: str, runs: Path | None) -> Cell:
    """Reads the cell of an MLflow run from its tags, metrics and files."""
    tags, metrics = run.data.tags, run.data.metrics
    summary: Mapping[str, Any] = {}
    if "baseline/samples" in metrics:
        summary = json.loads(_file(run, SUMMARY, uri, runs).read_text(encoding="utf-8"))
    return read_cell(
        tags.get("ttc.run_id", run.info.run_id),
        tags.get("ttc.role", "cell"),
        _yaml(_file(run, CONFIG, uri, runs)),
        metrics["flops/budget"],
        metrics.get("seconds", float("nan")),
        _file(run, "results.parquet", uri, runs),
        {name: int(next((metrics[k] for k in keys if k in metrics), 0)) for name, keys in COUNTS.items()},
        _baseline(summary),
    )


def _baseline(summary: Mapping[str, Any]) -> Baseline | None:
    """What a run sampled beside its search; summaries of earlier versions have nothing of it."""
    return msgspec.convert(summary.get("baseline"), Baseline | None)


def _file(run: Run, name: str, uri: str, runs: Path | None) -> Path:
    """Returns the path of a run's file: in its directory or among the artifacts in ``runs``, or of the
    artifact, which is copied where the store is on another machine. Raises BadInput where it is nowhere."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    address = str(run.info.artifact_uri)
    if runs is not None:
        beside = Path("artifacts", *address.split("/")[-2:], name)
        for path in (Path(run.data.tags.get("ttc.run_id", run.info.run_id), name), beside):
            if (runs / path).is_file():
                return runs / path
    try:
        return Path(download_artifacts(artifact_uri=f"{address}/{name}", tracking_uri=uri))  # type: ignore[no-untyped-call,unused-ignore]
    except (MlflowException, OSError) as error:
        where = "" if runs is None else f"in {runs} nor "
        why = f"its {name} is not {where}at {address} ({in_one_line(error)})"
        raise BadInput("experiment", run.info.run_name, why) from error


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where it is installed: it is faster
    held = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    if not isinstance(held, Mapping) or not {"seed", "strategy", "generator"} <= held.keys():
        raise ValueError(f"{path.name} is no run's configuration")
    return held
