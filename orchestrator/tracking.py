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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for a slow store before it goes on without it."""
BATCH = 1000
"""Metrics in one call: what MLflow's log_batch takes at most."""
MAX_PARAM = 6000
"""Characters of a parameter's value that MLflow keeps."""

Step = tuple[str, float, int]
"""A metric's name, its value, and its step."""


def local_uri(runs: Path) -> str:
    """The default store: SQLite beside the runs, so that it works offline."""
    return f"sqlite:///{runs.resolve()}/mlflow.db"


class Tracker:
    """One MLflow run. Methods queue and return at once; ``close`` writes what is left."""

    def __init__(
        self, uri: str, experiment: str, run_name: str, params: Mapping[str, Any], *, artifacts: str | None
    ) -> None:
        """``artifacts``: where a new experiment keeps its artifacts; None leaves it to the server."""
        self.mlflow_run_id: str | None = None
        self.failure: str | None = None
        self._uri = uri
        self._queue: queue.SimpleQueue[Callable[[MlflowClient, str], None] | None] = queue.SimpleQueue()
        self._open = (experiment, run_name, artifacts)
        self._status = "FINISHED"
        self._thread = threading.Thread(target=self._write, name="tracking", daemon=True)
        self._thread.start()
        self.params(params)

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        flat = flatten(params)

        def write(client: MlflowClient, run: str) -> None:
            from mlflow.entities import Param

            entities = [Param(key, str(value)[:MAX_PARAM]) for key, value in flat.items()]
            for start in range(0, len(entities), 100):
                client.log_batch(run, params=entities[start : start + 100])

        self._queue.put(write)

    def metrics(self, metrics: list[Step]) -> None:
        """Log metrics at their steps."""

        now = int(time.time() * 1000)

        def write(client: MlflowClient, run: str) -> None:
            from mlflow.entities import Metric

            entities = [Metric(name, float(value), now, step) for name, value, step in metrics]
            for start in range(0, len(entities), BATCH):
                client.log_batch(run, metrics=entities[start : start + BATCH])

        self._queue.put(write)

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
            client, run = self._start()
            while (write := self._queue.get()) is not None:
                write(client, run)
            client.set_terminated(run, self._status)
        except Exception as error:
            self.failure = f"tracking at {self._uri}: {type(error).__name__}: {str(error).splitlines()[0]}"

    def _start(self) -> tuple[MlflowClient, str]:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        experiment, run_name, artifacts = self._open
        client = MlflowClient(tracking_uri=self._uri)
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
            "ttc.run_id": run_name,
        }
        run = client.create_run(experiment_id, run_name=run_name, tags=tags)
        self.mlflow_run_id = run.info.run_id
        return client, run.info.run_id


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
