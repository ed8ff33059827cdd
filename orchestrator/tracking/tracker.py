"""Logs to MLflow in the background, so that tracking never slows or fails a search.

What is logged is in the run's spool (``spool``) when a method returns. One thread a run sends it to the store
in order (``sender``), waits while the store is away, and leaves what it cannot write to ``replay``.
"""

from __future__ import annotations

import getpass
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, in_one_line
from orchestrator.masking import masked, remember, without_user
from orchestrator.tracking import spool, view
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.sender import Sender
from orchestrator.tracking.spool import (
    Artifact,
    Begin,
    Dataset,
    End,
    Entry,
    Held,
    Metric,
    Param,
    Spool,
    Tag,
    Trace,
)
from orchestrator.tracking.uri import KEY, resolved

CLOSE_SECONDS = 60.0
"""Seconds that the end of a run waits for a store that is away before it goes on without it."""
MAX_NAME = 250
"""The most characters of a run's name that a MLflow store keeps."""
MAX_PARAM = 6000
"""The most characters of a parameter's value that MLflow keeps."""
TEMPORARY = ".spool"
"""The directory, under that of the runs, for the spools of jobs that have no run directory."""

Step = tuple[str, float, int]
"""A metric's name, its value and its step."""


def local_uri(runs: Path) -> str:
    """Returns the URI of the default store: SQLite beside the runs, so that it works offline."""
    return f"sqlite:///{runs.resolve()}/mlflow.db"


def local_store(uri: str | None, runs: str | Path) -> tuple[str, str | None]:
    """Returns the store's URI, and the place where a new experiment keeps its artifacts: beside the runs, or
    None where ``uri`` names a store that has its own place for them."""
    if uri is not None:
        return uri, None
    return local_uri(Path(runs)), (Path(runs).resolve() / "artifacts").as_uri()


def temporary_run_id(name: str) -> str:
    """Returns a run id for a job that leaves nothing but its MLflow run: its directory is removed once that
    is written."""
    return f"{TEMPORARY}/{name}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


class Tracker:
    """One MLflow run. Its methods return at once; ``close`` waits for what is left to be written."""

    def __init__(
        self,
        runs: str | Path,
        run_id: str,
        experiment: str,
        params: Mapping[str, Any],
        *,
        uri: str | None = None,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent: Tracker | None = None,
        study: str = "",
    ) -> None:
        """Begins the run, or goes on with the one that the directory ``runs / run_id`` remembers, after what
        its spool still holds.

        ``uri`` None is the store beside the runs; it may hold an ``${oc.env:…}``, and is kept without its
        password. ``title`` is the MLflow run's name (the run id unless
        given). ``parent`` is the run that this one is nested in, which then waits for the store on behalf of
        both. ``study`` is what it asks, for the description of the experiment.
        """
        self.directory = (Path(runs) / run_id).absolute()
        self._run_id, self._runs = run_id, Path(runs)
        self._parent = parent
        self._children: list[Tracker] = []
        self._spool = Spool(self.directory)
        self._unkept: str | None = None
        begin = Begin(
            experiment,
            (title or run_id)[:MAX_NAME],
            {
                "mlflow.user": _user(),
                "mlflow.source.name": "ttc",
                "mlflow.source.type": "LOCAL",
                **(tags or {}),
            },
            uuid.uuid4().hex,
            None if uri is None else without_user(uri),
            os.path.relpath(parent.directory, self.directory) if parent is not None else None,
            _now(),
            study,
        )
        remember(KEY, resolved(uri))
        self._store = MlflowStore(*local_store(resolved(uri), runs), self.directory)
        self._sender = Sender(self._spool, self._store, temporary=self.directory.parent.name == TEMPORARY)
        self._log([begin])
        self.params(params)
        self._sender.start()
        if parent is not None:
            parent._children.append(self)

    @property
    def mlflow_run_id(self) -> str | None:
        """The id of the MLflow run; None until the store has it."""
        return self._store.run_id

    @property
    def page(self) -> str:
        """Where the runs of this one's experiment are seen: a page, where the store is a server that has
        answered; else the store, without its password."""
        return view.address(without_user(self._store.uri), self._store.experiment_id)

    def tell(self, notice: Callable[[str], None]) -> None:
        """Has ``notice`` called, from another thread, with one line when the store is away for a while, and
        when it is back; at once where it is away now."""
        store = without_user(self._store.uri)
        self._sender.tell(lambda line: notice(masked(f"tracking at {store}: {line}")))

    def params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters; nested mappings become dotted names."""
        self._log([Param(key, str(value)[:MAX_PARAM]) for key, value in flatten(params).items()])

    def metrics(self, metrics: Sequence[Step]) -> None:
        """Logs metrics at their steps."""
        now = _now()
        self._log([Metric(name, float(value), now, step) for name, value, step in metrics])

    def describe(self, name: str, description: str) -> None:
        """Names the run anew, and describes it in Markdown."""
        self._log([Tag("mlflow.runName", name[:MAX_NAME]), Tag("mlflow.note.content", description)])

    def dataset(self, dataset: Dataset) -> None:
        """Logs the problems that the run is about."""
        self._log([dataset])

    def table(self, path: Path) -> None:
        """Logs a file of ``tracking.tables`` as a table that MLflow shows, and compares with other runs'."""
        self.artifact(path)
        self._log([Tag("mlflow.loggedArtifacts", json.dumps([{"path": path.name, "type": "table"}]))])

    def artifact(self, path: Path) -> None:
        """Logs a file, which must stay where it is: it is read when the store takes it."""
        self._log([Artifact(os.path.relpath(path, self.directory))])

    def trace(self, trace: Mapping[str, Any]) -> None:
        """Logs a trace (``runs.trace``), from a file that stays beside the spool."""
        path = self.directory / "traces" / f"{trace['id']}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(trace))
        except OSError as error:
            self._unkept = self._unkept or f"tracking: {path}: {in_one_line(error)}"
        self._log([Trace(os.path.relpath(path, self.directory))])

    def close(self, status: str = "FINISHED", patience: float | None = None) -> str | None:
        """Ends the run as ``status`` (FINISHED, FAILED or KILLED) and waits until everything is written, or
        nothing was for ``patience`` seconds (None: ``CLOSE_SECONDS``).

        A run that is nested in another leaves the wait to that one. Returns, in one line, what is not
        written, why, and what writes it later; or None.
        """
        self._log([End(status, _now())])
        self._spool.close()
        self._sender.close()
        if self._parent is not None:
            return self._unkept
        every = [self, *self._children]
        patience = CLOSE_SECONDS if patience is None else patience
        for tracker in every:
            if not tracker._sender.finished(patience):
                patience = 0.0  # the store is away for all of them
        return self._unwritten(every)

    def _log(self, entries: list[Entry]) -> None:
        """A disk that does not take them costs the run its tracking, and nothing else."""
        if self._unkept is None:
            try:
                self._spool.append(entries)
            except OSError as error:
                self._unkept = (
                    f"tracking: {self.directory}: {in_one_line(error)}; what follows is not tracked"
                )
        self._sender.wake()

    def _unwritten(self, every: Sequence[Tracker]) -> str | None:
        store = without_user(self._store.uri)
        senders = [tracker._sender for tracker in every]
        messages = [tracker._unkept for tracker in every if tracker._unkept is not None][:1]
        refused = [why for sender in senders for why in sender.refused]
        if refused:
            messages.append(f"{store} refused {len(refused)} of what was logged, first {refused[0]}")
        away = [sender for sender in senders if sender.waiting]
        if away:
            where = "" if self._runs == Path("runs") else f" --runs {self._runs}"
            messages.append(
                f"tracking at {store}: {away[0].away}; {sum(c.waiting for c in away)} entries wait "
                f"in {self._runs / self._run_id}/; to write them later: ttc replay {self._run_id}{where}"
            )
        return masked("; ".join(messages)) or None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The end of a replay of one spool."""

    directory: Path
    waiting: int
    """Entries that waited before."""
    left: int
    """Entries that still wait, for the reason ``away``."""
    away: str
    refused: tuple[str, ...]
    """Why the store did not take some, one line for each."""


def replay(runs: Path, run_id: str = "", uri: str | None = None) -> Iterator[Replayed]:
    """Writes what the spools in ``runs / run_id`` still hold, parents before their children, to the store
    that each names, or to ``uri``. Yields what became of each."""
    away: dict[str, str] = {}
    found = [path for path in (runs / run_id).rglob(spool.FILE) if path.is_file()]
    for path in sorted(found, key=lambda path: path.parent.parts):
        entries = Spool(path.parent)
        begin, waiting = entries.beginning(), entries.waiting()
        if begin is None or not waiting:
            continue
        try:
            address, artifacts = local_store(resolved(uri or begin.uri), runs)
        except BadInput as error:
            yield Replayed(path.parent, waiting, waiting, f"{error}: ttc replay --uri ADDRESS", ())
            continue
        remember(KEY, address)
        store = MlflowStore(address, artifacts, path.parent)
        sender = Sender(entries, store, temporary=path.parent.parent.name == TEMPORARY)
        if address in away:
            sender.away = away[address]
        else:
            try:
                entries.hold()
                sender.start()
                sender.close()
                if not sender.finished(CLOSE_SECONDS):
                    away[address] = sender.away
            except Held as error:
                sender.away = str(error)
        refused = tuple(map(masked, sender.refused))
        yield Replayed(path.parent, waiting, sender.waiting, masked(sender.away), refused)


def tags_about(runs: str | Path, experiment: str, uri: str | None) -> dict[str, str]:
    """Returns the tags of a run that is made of an experiment's others: they put it below the newest sweep,
    where there is one and the store answers, and leave it out of the table of searches."""
    from mlflow import MlflowClient

    tags = {view.ABOUT: experiment}
    try:
        client = MlflowClient(local_store(resolved(uri), runs)[0])
        found = client.get_experiment_by_name(experiment)
        places = [] if found is None else [found.experiment_id]
        newest = client.search_runs(places, "tags.`ttc.role` = 'sweep'", max_results=1) if places else []
    except Exception:  # whatever a store that is away raises: the run is then written later, on its own
        return tags
    return {**tags, "mlflow.parentRunId": newest[0].info.run_id} if newest else tags


def status_of(error: BaseException | None) -> str:
    """Returns MLflow's name for the end of a run that ``error`` ended (None: nothing did)."""
    return "FINISHED" if error is None else "FAILED" if isinstance(error, Exception) else "KILLED"


def _now() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as dotted names: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
