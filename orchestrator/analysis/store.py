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

import numpy as np

from orchestrator.analysis.cells import COSTS, Cell
from orchestrator.analysis.failures import commonest, failure, too_many
from orchestrator.errors import BadInput, in_one_line, one_of
from orchestrator.tracking.tracker import local_store
from orchestrator.tracking.uri import check_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LABEL = "label"
"""Role of a run whose solutions are labelled to train a verifier; it is not compared."""
DIFFICULTY = "difficulty"
"""Role of a run whose samples only sort the problems into bins."""
SWEPT = "sweep.yaml"
"""The file in a sweep's directory."""
COUNTS = {
    "unscored": "unscored",
    "skipped": "problems/skipped",
    "compared": "compared",
    "copies": "copies",
}
"""Names of a cell's counts, and of their metrics in MLflow."""


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


def find(experiment: str, uri: str | None, runs: str) -> Experiment:
    """Reads the experiment that a user names.

    A name with a slash is a directory of runs. Any other name is an MLflow experiment, in the store ``uri``
    or in the store of the directory ``runs``, whose own files are read first: it may have been moved. Where
    no experiment has the name, it is that of a sweep in ``runs``. Raises BadInput where it is not there or
    has no finished run.
    """
    if "/" in experiment:
        return load_directory(Path(experiment))
    check_uri(uri, "--uri")
    there = uri is not None or (Path(runs) / "mlflow.db").is_file()
    store, sweep = local_store(uri, runs)[0], Path(runs) / experiment / SWEPT
    if there and not (sweep.is_file() and experiment not in _experiments(store)):
        return load(experiment, store, Path(runs) if uri is None else None)
    if sweep.is_file():
        tracking = _yaml(sweep).get("tracking") or {}
        ours = there and (uri is not None or tracking.get("uri") is None)
        return replace(load_directory(sweep.parent), kept_in=tracking.get("experiment") if ours else None)
    raise BadInput("--runs", runs, "there is no run store yet; start a sweep first: ttc sweep CONFIG")


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

    Runs without a role (``ttc run``) count as cells. Of two runs with one run id (a resumed run) the later
    one counts. Raises BadInput where the store has no such experiment, or the experiment has no finished run.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        sweeps = sorted(path.parent.name for path in runs.glob(f"*/{SWEPT}")) if runs is not None else []
        known = dict.fromkeys([*_experiments(uri), *sweeps])
        raise BadInput("experiment", experiment, f"{one_of(known, experiment)} (in {uri})")
    latest = {run.data.tags.get("ttc.run_id", run.info.run_id): run for run in _runs(client, found)}
    cells = []
    for name, run in latest.items():
        with _readable(name):
            cells.append(_cell(run, uri, runs))
    return replace(_experiment(experiment, cells), kept_in=experiment)


def load_directory(directory: Path) -> Experiment:
    """Reads all runs with a summary in a directory, or in the ``cells`` of a sweep's directory. The directory
    may be a run's own.

    Raises BadInput where there are none.
    """
    found = [directory / "summary.json"] if (directory / "summary.json").is_file() else []
    found += [*directory.glob("*/summary.json"), *directory.glob("cells/*/summary.json")]
    cells = []
    for path in sorted(found):
        with _readable(path.parent):
            cells += _cells_in(path.parent)
    return _experiment(directory.name, cells)


def _cells_in(run: Path) -> list[Cell]:
    """The cell of a run's directory; none where its solutions are labels."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    role = summary.get("role", "cell")
    if role == LABEL:
        return []
    if run.name.startswith(DIFFICULTY):  # the summaries of older runs have no role
        role = DIFFICULTY
    cell = read_cell(
        summary["run_id"],
        role,
        _yaml(run / "config.yaml"),
        summary["flops"]["budget"],
        summary["seconds"],
        run / "results.parquet",
        {name: int(summary.get(name, 0)) for name in COUNTS},
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


def _runs(client: MlflowClient, experiment: Any) -> Iterator[Run]:
    """Yields the experiment's finished runs that searched, earliest first, without those that label. A run of
    which too many searches broke has ended too, as FAILED."""
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
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
) -> Cell:
    """Reads a cell from its table of results.

    ``budget`` are the FLOPs and ``seconds`` the wall time of all problems together; ``counts`` is as in
    a cell.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    names = [name for name in file.schema_arrow.names if name.startswith("correct_")]
    later = [
        name for name in ("seconds", "error") if name in file.schema_arrow.names
    ]  # older tables lack them
    table = file.read(columns=["problem", "covered", "exhausted", *COSTS, *later, *names])
    columns = {
        name: table[name].to_numpy() for name in table.column_names if name not in ("problem", "error")
    }
    return Cell(
        run_id,
        role,
        config,
        budget / len(table),
        tuple(table["problem"].to_pylist()),
        {name.removeprefix("correct_"): columns[name] for name in names},
        columns["covered"],
        columns["exhausted"],
        {name: columns[name] for name in COSTS},
        columns["seconds"] if "seconds" in later else np.full(len(table), np.nan),
        results,
        seconds,
        table["error"].to_pylist() if "error" in later else (),
        dict(counts or {}),
    )


def _cell(run: Run, uri: str, runs: Path | None) -> Cell:
    """Reads the cell of an MLflow run from its tags, metrics and files."""
    tags, metrics = run.data.tags, run.data.metrics
    return read_cell(
        tags.get("ttc.run_id", run.info.run_id),
        tags.get("ttc.role", "cell"),
        _yaml(_file(run, "config.yaml", uri, runs)),
        metrics["flops/budget"],
        metrics.get("seconds", float("nan")),
        _file(run, "results.parquet", uri, runs),
        {name: int(metrics.get(key, 0)) for name, key in COUNTS.items()},
    )


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
