"""Keeps a page among the artifacts of the run that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.terminal import say_untracked

if TYPE_CHECKING:
    from orchestrator.config.schema import Config


def keep_with_run(page: Path, directory: Path, config: Config, errors: Console) -> None:
    """Keeps a page in the MLflow run of the run in ``directory``, of which nothing else changes. A run that
    is not tracked keeps nothing; what could not be written is said."""
    from orchestrator.analysis.store import moved_from
    from orchestrator.tracking.mlflow_store import ID

    if (directory / ID).is_file():
        moved = moved_from(config.tracking.experiment, config.tracking.uri, config.runs)
        say_untracked(errors, moved, lambda: _write(page, directory, config))


def _write(page: Path, directory: Path, config: Config) -> str | None:
    from orchestrator.masking import is_masked
    from orchestrator.tracking.mlflow_store import Away, MlflowStore, Refused
    from orchestrator.tracking.spool import Artifact
    from orchestrator.tracking.tracker import local_store
    from orchestrator.tracking.uri import resolved

    uri = config.tracking.uri
    if is_masked("tracking.uri", uri):
        return "the page is not kept in MLflow: the password of tracking.uri is not kept with a run"
    store = MlflowStore(*local_store(resolved(uri), config.runs), directory)
    try:
        store.write([Artifact(str(page.absolute()))])
    except (Away, Refused) as error:
        return f"the page is not kept in MLflow: {error}"
    return None
