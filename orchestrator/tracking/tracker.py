"""MLflow: one run per run, written in the background so that tracking never slows or fails a search.

What is logged is in the run's spool (``spool``) when a method returns. One thread a run writes it to the
store in order (``delivery``), waits while the store is away, and leaves what it cannot write to ``replay``.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.tracking import spool
from orchestrator.tracking.mlflow_store import MlflowStore, line
from orchestrator.tracking.sender import Away, Pace, deliver
from orchestrator.tracking.spool import Artifact, Begin, End, Entry, Held, Metric, Param, Spool, Trace

CLOSE_SECONDS = 60.0
"""How long the end of a run waits for a store that is away before it goes on without it."""
MAX_PARAM = 6000
"""Characters of a parameter's value that MLflow keeps."""
PASSING = ".spool"
"""Where in the directory of the runs the spools are of what has no directory of its own."""

Step = tuple[str, float, int]
"""A metric's name, its value, and its step."""


def local_uri(runs: Path) -> str:
    """The default store: SQLite beside the runs, so that it works offline."""
    return f"sqlite:///{runs.resolve()}/mlflow.db"


def local_store(uri: str | None, runs: str | Path) -> tuple[str, str | None]:
    """The store's URI, and where a new experiment keeps its artifacts: beside the runs, unless ``uri``
    names a store that has its own place for them (None)."""
    if uri is not None:
        return uri, None
    return local_uri(Path(runs)), (Path(runs).resolve() / "artifacts").as_uri()


def passing(name: str) -> str:
    """A run id for what leaves nothing but its MLflow run: its directory is removed once that is written."""
    return f"{PASSING}/{name}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


class Tracker:
    """One MLflow run. Methods return at once; ``close`` waits for what is left to be written."""

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
    ) -> None:
        """``runs / run_id`` is the run's directory; where it names an MLflow run, that goes on, after what
        its spool still holds. ``uri`` None: the store beside the runs. ``title``: the MLflow run's name (the
        run id unless given). ``parent``: the run that this one is nested in, which then waits for the store
        on behalf of both."""
        self.directory = (Path(runs) / run_id).absolute()
        self._run_id, self._runs = run_id, Path(runs)
        self._parent = parent
        self._children: list[Tracker] = []
        self._spool = Spool(self.directory)
        self._unkept: str | None = None
        begin = Begin(
            experiment,
            title or run_id,
            {
                "mlflow.user": _user(),
                "mlflow.source.name": "ttc",
                "mlflow.source.type": "LOCAL",
                **(tags or {}),
            },
            uuid.uuid4().hex,
            uri,
            os.path.relpath(parent.directory, self.directory) if parent is not None else None,
            _now(),
        )
        self._store = MlflowStore(*local_store(uri, runs), self.directory)
        self._courier = Courier(self._spool, self._store)
        self._log([begin])
        self.params(params)
        self._courier.start()
        if parent is not None:
            parent._children.append(self)

    @property
    def mlflow_run_id(self) -> str | None:
        """None until the store has the run."""
        return self._store.run_id

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        self._log([Param(key, str(value)[:MAX_PARAM]) for key, value in flatten(params).items()])

    def metrics(self, metrics: Sequence[Step]) -> None:
        """Log metrics at their steps."""
        now = _now()
        self._log([Metric(name, float(value), now, step) for name, value, step in metrics])

    def artifact(self, path: Path) -> None:
        """Log a file, which must stay where it is: it is read when the store takes it."""
        self._log([Artifact(os.path.relpath(path, self.directory))])

    def trace(self, trace: Mapping[str, Any]) -> None:
        """Log a trace (``traces.trace_of``): from a file that stays beside the spool."""
        path = self.directory / "traces" / f"{trace['id']}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(trace))
        except OSError as error:
            self._unkept = self._unkept or f"tracking: {path}: {line(error)}"
        self._log([Trace(os.path.relpath(path, self.directory))])

    def close(self, status: str = "FINISHED", patience: float | None = None) -> str | None:
        """End the run as ``status`` (FINISHED, FAILED or KILLED) and wait until everything is written, or
        nothing was for ``patience`` seconds (None: ``CLOSE_SECONDS``); a run that is nested in another leaves
        the wait to that one.

        Returns what is not written, why, and what writes it later, in one line; or None.
        """
        self._log([End(status, _now())])
        self._spool.close()
        self._courier.close()
        if self._parent is not None:
            return self._unkept
        every = [self, *self._children]
        patience = CLOSE_SECONDS if patience is None else patience
        for each in every:
            if not each._courier.finished(patience):
                patience = 0.0  # the store is away for all of them
        return self._said(every)

    def _log(self, entries: list[Entry]) -> None:
        """A disk that does not take them costs the run its tracking, and nothing else."""
        if self._unkept is None:
            try:
                self._spool.append(entries)
            except OSError as error:
                self._unkept = f"tracking: {self.directory}: {line(error)}; what follows is not tracked"
        self._courier.wake()

    def _said(self, every: Sequence[Tracker]) -> str | None:
        couriers = [each._courier for each in every]
        said = [each._unkept for each in every if each._unkept is not None][:1]
        refused = [why for courier in couriers for why in courier.refused]
        if refused:
            said.append(f"{self._store.uri} refused {len(refused)} of what was logged, first {refused[0]}")
        away = [courier for courier in couriers if courier.waiting]
        if away:
            where = "" if self._runs == Path("runs") else f" --runs {self._runs}"
            said.append(
                f"tracking at {self._store.uri}: {away[0].away}; {sum(c.waiting for c in away)} entries wait "
                f"in {self._runs / self._run_id}/; to write them later: ttc replay {self._run_id}{where}"
            )
        return "; ".join(said) or None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a spool's ``waiting`` entries: those ``left``, and why; why some were ``refused``."""

    directory: Path
    waiting: int
    left: int
    away: str
    refused: tuple[str, ...]


class Courier:
    """The thread that writes a spool to its store. ``away``: why it is not done; ``refused``: what the
    store did not take; ``waiting``: entries that are left, once it has ended."""

    def __init__(self, entries: Spool, store: MlflowStore) -> None:
        self.away = "too slow"
        self.refused: list[str] = []
        self._spool, self._store = entries, store
        self._pace = Pace()
        self._progress = 0.0
        self._logged, self._closed, self._left = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write, name="tracking", daemon=True)

    @property
    def waiting(self) -> int:
        return self._spool.waiting()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something was logged."""
        self._logged.set()

    def close(self) -> None:
        """Nothing more is logged."""
        self._closed.set()
        self._logged.set()

    def finished(self, patience: float) -> bool:
        """Wait until all is written; no longer than ``patience`` seconds after the last call that succeeded,
        or from now. Then the thread is left, and writes no more than the call it is in."""
        self._progress = time.monotonic()
        while self._thread.is_alive():
            remaining = self._progress + patience - time.monotonic()
            if remaining <= 0:
                self._left.set()
                self._thread.join(0.1)
                return False
            self._thread.join(remaining)
        return True

    def _write(self) -> None:
        try:
            while not self._left.is_set():
                self._logged.clear()
                closed = self._closed.is_set()
                try:
                    self._spool.hold()
                    done, refused = deliver(self._spool, self._store, self._pace)
                except (Away, Held, OSError) as error:
                    self.away = str(error)
                    self._pause(closed)
                    continue
                if refused is not None:
                    self.refused.append(refused)
                if done:
                    self._progress = time.monotonic()
                elif closed:
                    if self._spool.directory.parent.name == PASSING:
                        shutil.rmtree(self._spool.directory, ignore_errors=True)
                    break
                else:
                    self._logged.wait()
        finally:
            self._spool.release()

    def _pause(self, closed: bool) -> None:
        """Wait before the next call. The end of the run cuts that short once, and begins with short waits."""
        if closed:
            self._left.wait(self._pace.away())
        elif self._closed.wait(self._pace.away()):
            self._pace.hurry()


def replay(runs: Path, run_id: str = "") -> Iterator[Replayed]:
    """Write what the spools in ``runs / run_id`` still hold, of parents before their children."""
    away: dict[str, str] = {}
    for path in sorted((runs / run_id).rglob(spool.FILE), key=lambda path: path.parent.parts):
        entries = Spool(path.parent)
        begin, waiting = entries.beginning(), entries.waiting()
        if begin is None or not waiting:
            continue
        uri, artifacts = local_store(begin.uri, runs)
        courier = Courier(entries, MlflowStore(uri, artifacts, path.parent))
        if uri in away:
            courier.away = away[uri]
        else:
            try:
                entries.hold()
                courier.start()
                courier.close()
                if not courier.finished(CLOSE_SECONDS):
                    away[uri] = courier.away
            except Held as error:
                courier.away = str(error)
        yield Replayed(path.parent, waiting, courier.waiting, courier.away, tuple(courier.refused))


def status_of(error: BaseException | None) -> str:
    """What MLflow calls the end of a run that ``error`` ended (None: nothing did)."""
    return "FINISHED" if error is None else "FAILED" if isinstance(error, Exception) else "KILLED"


def _now() -> int:
    return int(time.time() * 1000)


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
