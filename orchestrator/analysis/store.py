"""Where finished runs are found: an MLflow experiment, or a directory of runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.cells import Cell, read_cell
from orchestrator.errors import BadInput, one_of
from orchestrator.tracking.tracker import local_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LABEL = "label"
"""The role of a run whose solutions are labelled to train a verifier: it is compared with nothing."""
DIFFICULTY = "difficulty"
"""The role of the run whose samples serve only to bin the problems."""


@dataclass(frozen=True)
class Experiment:
    """The finished runs of a study: ``cells`` are compared, ``difficulty`` are only for binning."""

    name: str
    cells: Sequence[Cell]
    difficulty: Sequence[Cell]


def find(experiment: str, uri: str | None, runs: str) -> Experiment:
    """What a user names: a directory of runs (a path with a slash), or an experiment of MLflow, in the
    store ``uri`` or in the one of the directory ``runs``. Raises BadInput."""
    if "/" in experiment:
        return load_directory(Path(experiment))
    if uri is None and not (Path(runs) / "mlflow.db").is_file():
        raise BadInput("--runs", runs, "there is no run store yet; start a sweep first: ttc sweep CONFIG")
    return load(experiment, local_store(uri, runs)[0])


def load(experiment: str, uri: str) -> Experiment:
    """All finished runs of an MLflow experiment. Runs without a role (``ttc run``) count as cells; of
    two with one run id (a run that was resumed) the later counts. Raises BadInput where the store has no
    such experiment, or nothing finished in it."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = sorted(each.name for each in client.search_experiments())
        raise BadInput("experiment", experiment, f"{one_of(known)} (in {uri})")
    latest = {run.data.tags.get("ttc.run_id", run.info.run_id): run for run in _runs(client, found)}
    cells = [_cell(run, uri) for run in latest.values()]
    return _experiment(experiment, cells)


def load_directory(directory: Path) -> Experiment:
    """All finished runs of a directory, or of a sweep's ``cells``: those with a summary. Raises BadInput
    where there are none."""
    cells = []
    for path in sorted([*directory.glob("*/summary.json"), *directory.glob("cells/*/summary.json")]):
        summary, run = json.loads(path.read_text()), path.parent
        role = summary.get("role", "cell")
        if role == LABEL:
            continue
        if run.name.startswith(DIFFICULTY):  # also of runs whose summary does not tell
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
    """The experiment's finished runs that searched, the earliest first; without those that labelled."""
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


def _cell(run: Run, uri: str) -> Cell:
    from mlflow.artifacts import download_artifacts

    def artifact(name: str) -> Path:
        """A copy of the file, or the file itself where the store is on this machine."""
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

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times as fast, where there is one
    return yaml.load(path.read_text(), Loader=loader)
