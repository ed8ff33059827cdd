"""Writes the entries of a spool to MLflow.

Any call may be made twice, as it is after a crash between a call and its mark. MLflow's SQL store, which is
also the server's, has a metric's name, value, time, step and run as its primary key and drops points that it
has (``SqlAlchemyStore._log_metrics_once``); parameters that are there are left as they are; a file is
overwritten, a trace merged; and a run is looked for by its begin's token before it is created. (A store of
another kind, as MLflow's files, would keep a point twice.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.durability.files import write_atomically
from orchestrator.errors import in_one_line
from orchestrator.tracking import about, traces, view
from orchestrator.tracking.spool import (
    Artifact,
    Begin,
    Dataset,
    End,
    Entry,
    Metric,
    Param,
    Tag,
    Trace,
    Unreadable,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID = "mlflow_run_id"
"""The file in a run's directory that holds the id of its MLflow run."""
TOKEN = "mlflow.ttc.begin"
"""The tag with the token of the entry that an MLflow run was created for. The UI hides the prefix."""
UNUSABLE = {"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "NOT_IMPLEMENTED", "RESOURCE_DOES_NOT_EXIST"}
UNUSABLE |= {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS", "NOT_FOUND"}
"""MLflow's error codes for calls that can never succeed. Missing permission and a missing endpoint are not
among them: they speak of the credentials or of what answers in the server's place, and pass."""


class Away(Exception):
    """The store does not answer, or not for now: the same call may succeed later."""


class Refused(Exception):
    """The store will never take this call."""


class MlflowStore:
    """Writes to the MLflow run of one directory, whose id is ``run_id`` once it has one."""

    def __init__(self, uri: str, artifacts: str | None, directory: Path) -> None:
        """``artifacts`` is the place where a new experiment keeps its artifacts; None leaves it to the
        server."""
        self.uri = uri
        self._artifacts = artifacts
        self._directory = directory
        self._connected: MlflowClient | None = None
        self.run_id = _remembered(directory)
        self.experiment_id: str | None = None
        """The id of the run's experiment, once the store has answered."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Makes one call, with entries of one kind. Raises Away or Refused."""
        first = entries[0]
        if isinstance(first, Unreadable):
            raise Refused(f"not an entry: {first.line[:80]}")
        client = self._client()
        if isinstance(first, Begin):
            try:
                self._begin(client, first)
            except (Away, Refused) as error:  # without a run there is nothing to write the rest to
                raise Away(str(error)) from error
            except Exception as error:
                raise Away(in_one_line(error)) from error
            return
        if self.run_id is None:
            raise Away(f"{self._directory / ID} is missing")
        try:
            self._write(client, self.run_id, entries)
        except Refused:
            raise
        except Exception as error:
            names = f"{type(first).__name__.lower()} {_name(first)}"
            raise (
                Refused(f"{names}: {in_one_line(error)}") if final(error) else Away(in_one_line(error))
            ) from error

    def _write(self, client: MlflowClient, run: str, entries: Sequence[Entry]) -> None:
        from mlflow import entities

        first = entries[0]
        if isinstance(first, Metric):
            points = [each for each in entries if isinstance(each, Metric)]
            client.log_batch(run, metrics=[entities.Metric(p.name, p.value, p.ms, p.step) for p in points])
        elif isinstance(first, Param):
            # A parameter is written once: a run that goes on elsewhere keeps what it was begun with.
            known = client.get_run(run).data.params
            new = {p.key: p.value for p in entries if isinstance(p, Param) and p.key not in known}
            client.log_batch(run, params=[entities.Param(key, value) for key, value in new.items()])
        elif isinstance(first, Tag):
            client.set_tag(run, first.key, first.value)
        elif isinstance(first, Dataset):
            profile = json.dumps({"num_rows": first.problems})
            data = entities.Dataset(first.name, first.digest, "ttc", first.source, profile=profile)
            context = entities.InputTag("mlflow.data.context", "evaluation")
            client.log_inputs(run, datasets=[entities.DatasetInput(data, [context])])
        elif isinstance(first, (Artifact, Trace)):
            path = self._directory / first.path
            if not path.is_file():
                raise Refused(f"{path}: there is no such file")
            if isinstance(first, Artifact):
                client.log_artifact(run, str(path))
            else:
                traces.write(client, run, self.uri, path)
        elif isinstance(first, End):
            client.set_terminated(run, first.status, first.ms)

    def _client(self) -> MlflowClient:
        """The store, opened at first use."""
        if self._connected is None:
            # What fails is said by the tracker, in one line; and it alone retries, since it knows what may
            # be done twice (a run may not be created twice) and can be told to stop.
            os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            # Two lines a run, with addresses that open on traces.
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
            try:
                from mlflow import MlflowClient

                self._connected = MlflowClient(tracking_uri=self.uri)
            except Exception as error:
                raise Away(in_one_line(error)) from error
        return self._connected

    def _begin(self, client: MlflowClient, begin: Begin) -> None:
        self.run_id = self._earlier(client) or self._created(client, begin)
        write_atomically(self._directory / ID, self.run_id)

    def _earlier(self, client: MlflowClient) -> str | None:
        """The remembered run, set going again; None where there is none in this store."""
        if self.run_id is None:
            return None
        try:
            run = client.get_run(self.run_id)
        except Exception as error:
            if final(error):  # another store, or removed from this one
                return None
            raise
        if run.info.lifecycle_stage != "active":
            return None
        client.update_run(run.info.run_id, status="RUNNING")
        self.experiment_id = run.info.experiment_id
        return run.info.run_id

    def _created(self, client: MlflowClient, begin: Begin) -> str:
        experiment = client.get_experiment_by_name(begin.experiment)
        if experiment is None:
            asked = about.described(None, begin.study)
            tags = about.KIND if asked is None else {**about.KIND, about.NOTE: asked}
            self.experiment_id = where = client.create_experiment(begin.experiment, self._artifacts, tags)
            with suppress(Exception):  # how the experiment looks is worth no run
                view.ensure(client, where, {}, begin.ms)
        elif (why := about.deleted(experiment)) is not None:
            raise Away(why)
        else:
            self.experiment_id = where = experiment.experiment_id
            found = client.search_runs([where], f"tags.`{TOKEN}` = '{begin.token}'", max_results=1)
            if found:
                return found[0].info.run_id
            with suppress(Exception):  # how the experiment looks is worth no run
                view.ensure(client, where, experiment.tags, begin.ms)
                if (asked := about.described(experiment.tags.get(about.NOTE), begin.study)) is not None:
                    client.set_experiment_tag(where, about.NOTE, asked)
        tags = {**begin.tags, TOKEN: begin.token}
        if begin.parent is not None:
            parent = _remembered(self._directory / begin.parent)
            if parent is None:
                raise Away(f"the run that it is nested in, {begin.parent}, is not in the store yet")
            tags["mlflow.parentRunId"] = parent
        return client.create_run(where, start_time=begin.ms, tags=tags, run_name=begin.name).info.run_id


def final(error: Exception) -> bool:
    """Tells whether the same call would fail again whenever it is made; an unknown error may not."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        return error.error_code in UNUSABLE
    if isinstance(error, HTTPError) and error.response is not None:  # an artifact's way is not the API's
        status = error.response.status_code
        return 400 <= status < 500 and status not in (401, 403, 408, 429)
    if isinstance(error, OSError):
        return False
    return isinstance(error, (TypeError, ValueError, NotImplementedError))


def _remembered(directory: Path) -> str | None:
    path = directory / ID
    return path.read_text().strip() or None if path.is_file() else None


def _name(entry: Entry) -> str:
    return str(getattr(entry, "name", getattr(entry, "key", getattr(entry, "path", ""))))
