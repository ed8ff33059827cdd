"""MLflow: one run per run, written by one background thread so that tracking never slows a search.

What the store refuses (a server that is away) is reported once and costs the run nothing else: the
results are in the run's own directory in any case.
"""

from __future__ import annotations

import getpass
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLOSE_SECONDS = 60.0
"""How long the end of a run waits for a slow store before it goes on without it."""
BATCH = 1000
"""Metrics in one call: what MLflow's log_batch takes at most."""
MAX_PARAM = 6000
"""Characters of a parameter's value that MLflow keeps."""

Step = tuple[str, float, int]
"""A metric's name, its value, and its step."""
_Point = tuple[str, float, int, int]
"""A metric as it is queued: name, value, time in milliseconds, step."""
_Item = Union["Callable[[MlflowClient, str], None]", list[_Point], None]
"""Something to write, metrics, or the end."""


def local_uri(runs: Path) -> str:
    """The default store: SQLite beside the runs, so that it works offline."""
    return f"sqlite:///{runs.resolve()}/mlflow.db"


def local_store(uri: str | None, runs: str) -> tuple[str, str | None]:
    """The store's URI, and where a new experiment keeps its artifacts: beside the runs, unless ``uri``
    names a store that has its own place for them (None)."""
    if uri is not None:
        return uri, None
    return local_uri(Path(runs)), (Path(runs).resolve() / "artifacts").as_uri()


class Tracker:
    """One MLflow run. Methods queue and return at once; ``close`` writes what is left."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        *,
        artifacts: str | None,
        tags: Mapping[str, str] | None = None,
        parent: Tracker | None = None,
        remember: Path | None = None,
    ) -> None:
        """``artifacts``: where a new experiment keeps its artifacts; None leaves it to the server.
        ``parent``: the run that this one is nested in. ``remember``: a file that keeps the run's MLflow
        id; where it already names one, that run goes on."""
        self.mlflow_run_id: str | None = None
        self.failure: str | None = None
        self._uri = uri
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._experiment = (experiment, artifacts)
        self._name = run_name
        self._tags = dict(tags or {})
        self._parent = parent
        self._remember = remember
        self._known_params: set[str] = set()
        self._status = "FINISHED"
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._write, name="tracking", daemon=True)
        self._thread.start()
        self.params(params)

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        flat = flatten(params)

        def write(client: MlflowClient, run: str) -> None:
            from mlflow.entities import Param

            # A parameter is written once: a run that goes on elsewhere keeps what it was begun with.
            new = {key: value for key, value in flat.items() if key not in self._known_params}
            entities = [Param(key, str(value)[:MAX_PARAM]) for key, value in new.items()]
            for start in range(0, len(entities), 100):
                client.log_batch(run, params=entities[start : start + 100])

        self._queue.put(write)

    def metrics(self, metrics: list[Step]) -> None:
        """Log metrics at their steps."""
        now = int(time.time() * 1000)
        self._queue.put([(name, float(value), now, step) for name, value, step in metrics])

    def artifact(self, path: Path) -> None:
        """Log a file."""
        self._queue.put(lambda client, run: client.log_artifact(run, str(path)))

    def close(self, status: str = "FINISHED") -> str | None:
        """Write everything, end the run as ``status`` (FINISHED, FAILED or KILLED).

        Returns what went wrong on the way, in one line, or None.
        """
        self._status = status
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            return f"tracking at {self._uri}: not finished after {CLOSE_SECONDS:g} s; the rest is not written"
        return self.failure

    def _write(self) -> None:
        try:
            try:
                client, run = self._start()
            finally:
                self._begun.set()
            points: list[_Point] = []
            while (item := self._queue.get()) is not None:
                if isinstance(item, list):
                    points += item
                    if len(points) < BATCH and not self._queue.empty():
                        continue  # what waits goes in the same call
                self._write_metrics(client, run, points)
                points = []
                if not isinstance(item, list):
                    item(client, run)
            self._write_metrics(client, run, points)
            client.set_terminated(run, self._status)
        except Exception as error:
            self.failure = f"tracking at {self._uri}: {type(error).__name__}: {str(error).splitlines()[0]}"

    def _write_metrics(self, client: MlflowClient, run: str, points: list[_Point]) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(points), BATCH):
            client.log_batch(run, metrics=[Metric(*point) for point in points[start : start + BATCH]])

    def _start(self) -> tuple[MlflowClient, str]:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        self.mlflow_run_id = self._earlier(client) or self._new(client)
        if self._remember is not None:
            self._remember.write_text(self.mlflow_run_id)
        return client, self.mlflow_run_id

    def _earlier(self, client: MlflowClient) -> str | None:
        """The remembered run, set going again; None where there is none in this store."""
        from mlflow.exceptions import MlflowException

        if self._remember is None or not self._remember.is_file():
            return None
        try:
            run = client.get_run(self._remember.read_text())
        except MlflowException:  # another store, or removed from this one
            return None
        if run.info.lifecycle_stage != "active":
            return None
        self._known_params = set(run.data.params)
        client.update_run(run.info.run_id, status="RUNNING")
        return run.info.run_id

    def _new(self, client: MlflowClient) -> str:
        experiment, artifacts = self._experiment
        found = client.get_experiment_by_name(experiment)
        experiment_id = (
            found.experiment_id
            if found is not None
            else client.create_experiment(experiment, artifact_location=artifacts)
        )
        tags = {
            "mlflow.user": _user(),
            "mlflow.source.name": "ttc",
            "mlflow.source.type": "LOCAL",
            **self._tags,
        }
        if self._parent is not None and self._parent._begun.wait(CLOSE_SECONDS):
            tags |= {"mlflow.parentRunId": self._parent.mlflow_run_id} if self._parent.mlflow_run_id else {}
        return client.create_run(experiment_id, run_name=self._name, tags=tags).info.run_id


def status_of(error: BaseException | None) -> str:
    """What MLflow calls the end of a run that ``error`` ended (None: nothing did)."""
    return "FINISHED" if error is None else "FAILED" if isinstance(error, Exception) else "KILLED"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
