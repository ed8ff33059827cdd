"""Reads finished runs from an MLflow experiment or from a directory of runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.analysis.cells import COSTS, Cell
from orchestrator.errors import BadInput, one_of
from orchestrator.tracking.tracker import local_store
from orchestrator.tracking.uri import check_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LABEL = "label"
"""Role of a run whose solutions are labelled to train a verifier; it is not compared."""
DIFFICULTY = "difficulty"
"""Role of a run whose samples only sort the problems into bins."""


@dataclass(frozen=True)
class Experiment:
    """The finished runs of one study."""

    name: str
    cells: Sequence[Cell]
    """Runs that are compared."""
    difficulty: Sequence[Cell]
    """Runs whose samples only sort the problems into bins."""


def find(experiment: str, uri: str | None, runs: str) -> Experiment:
    """Reads the experiment that a user names.

    A name with a slash is a directory of runs; any other name is an MLflow experiment, in the store ``uri``
    or in the store of the directory ``runs``. Raises BadInput where it is not there or has no finished run.
    """
    if "/" in experiment:
        return load_directory(Path(experiment))
    check_uri(uri, "--uri")
    if uri is None and not (Path(runs) / "mlflow.db").is_file():
        raise BadInput("--runs", runs, "there is no run store yet; start a sweep first: ttc sweep CONFIG")
    return load(experiment, local_store(uri, runs)[0])


def load(experiment: str, uri: str) -> Experiment:
    """Reads all finished runs of an MLflow experiment.

    Runs without a role (``ttc run``) count as cells. Of two runs with one run id (a resumed run) the later
    one counts. Raises BadInput where the store has no such experiment, or the experiment has no finished run.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = sorted(experiment.name for experiment in client.search_experiments())
        raise BadInput("experiment", experiment, f"{one_of(known)} (in {uri})")
    latest = {run.data.tags.get("ttc.run_id", run.info.run_id): run for run in _runs(client, found)}
    cells = [_cell(run, uri) for run in latest.values()]
    return _experiment(experiment, cells)


def load_directory(directory: Path) -> Experiment:
    """Reads all runs with a summary in a directory, or in the ``cells`` of a sweep's directory.

    Raises BadInput where there are none.
    """
    cells = []
    for path in sorted([*directory.glob("*/summary.json"), *directory.glob("cells/*/summary.json")]):
        summary, run = json.loads(path.read_text()), path.parent
        role = summary.get("role", "cell")
        if role == LABEL:
            continue
        if run.name.startswith(DIFFICULTY):  # the summaries of older runs have no role
            role = DIFFICULTY
        budget = summary["flops"]["budget"]
        cells.append(
            read_cell(
                summary["run_id"],
                role,
                _yaml(run / "config.yaml"),
                budget,
                summary["seconds"],
                run / "results.parquet",
            )
        )
    return _experiment(directory.name, cells)


def _experiment(name: str, cells: Sequence[Cell]) -> Experiment:
    if not cells:
        raise BadInput("experiment", name, "it has no finished run yet; start one first: ttc sweep CONFIG")
    return Experiment(
        name,
        [cell for cell in cells if cell.role != DIFFICULTY],
        [cell for cell in cells if cell.role == DIFFICULTY],
    )


def _runs(client: MlflowClient, experiment: Any) -> Iterator[Run]:
    """Yields the experiment's finished runs that searched, earliest first, without those that label."""
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            "attributes.status = 'FINISHED'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        searched = (run for run in page if "flops/budget" in run.data.metrics)
        yield from (run for run in searched if run.data.tags.get("ttc.role") != LABEL)
        token = page.token
        if not token:
            return


def read_cell(
    run_id: str, role: str, config: Mapping[str, Any], budget: float, seconds: float, results: Path
) -> Cell:
    """Reads a cell from its table of results.

    ``budget`` are the FLOPs and ``seconds`` the wall time of all problems together.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(results)
    names = [name for name in file.schema_arrow.names if name.startswith("correct_")]
    timed = [name for name in file.schema_arrow.names if name == "seconds"]  # older tables lack it
    table = file.read(columns=["problem", "covered", "exhausted", *COSTS, *timed, *names])
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "problem"}
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
        columns["seconds"] if timed else np.full(len(table), np.nan),
        results,
        seconds,
    )


def _cell(run: Run, uri: str) -> Cell:
    """Reads the cell of an MLflow run from its tags, metrics and artifacts."""
    from mlflow.artifacts import download_artifacts

    def artifact(name: str) -> Path:
        """Returns the path of the file, or of a copy where the store is on another machine."""
        return Path(
            download_artifacts(artifact_uri=f"{run.info.artifact_uri}/{name}", tracking_uri=uri)  # type: ignore[no-untyped-call,unused-ignore]
        )

    tags = run.data.tags
    return read_cell(
        tags.get("ttc.run_id", run.info.run_id),
        tags.get("ttc.role", "cell"),
        _yaml(artifact("config.yaml")),
        run.data.metrics["flops/budget"],
        run.data.metrics.get("seconds", float("nan")),
        artifact("results.parquet"),
    )


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where it is installed: it is faster
    return yaml.load(path.read_text(), Loader=loader)
