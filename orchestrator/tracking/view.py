"""The table of runs as an experiment's page shows it: its columns, their order, and which runs are in it.

MLflow keeps a view that has a name as a tag of the experiment, and an address may ask for it. Without one,
its table has no metric and no tag. The form is that of MLflow 3.17's page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "ttc"
TAG = f"mlflow.sharedViewState.{KEY}"
ABOUT = "ttc.about"
"""The tag of a run that searches nothing and is made of others, as a report: the experiment of these."""
SEARCHES = f"tags.`{ABOUT}` IS NULL and attributes.start_time > 0"
"""Which runs are in the table. MLflow's page takes a filter that compares nothing for a part of a name."""

_METRICS = {"accuracy": 85, "accuracy_low": 105, "accuracy_high": 110, "flops_per_problem": 145}
_TAGS = {"strategy": 140, "budget": 120, "seed": 70}
"""What is shown beside a run's name, in this order, with its width in pixels: up to the interval it has room
on a page of 1,280, beside MLflow's assistant."""


def page(experiment: str) -> str:
    """Returns the address of an experiment's runs, below that of the server."""
    # MLflow opens on traces unless it is told.
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"


def address(uri: str, experiment: str | None) -> str:
    """Returns where an experiment's runs are seen: its page, where the store is a server; else the store."""
    if experiment is None or not uri.startswith(("http://", "https://")):
        return uri
    return f"{uri.rstrip('/')}/{page(experiment)}"


def tags(ms: int) -> dict[str, str]:
    """Returns the tag of an experiment that holds the view, made ``ms`` milliseconds after 1970."""
    view = {"name": "Searches", "createdAt": ms, "updatedAt": ms, "state": json.dumps(_state())}
    return {TAG: json.dumps(view)}


def ensure(client: MlflowClient, experiment: str, known: Mapping[str, str], ms: int) -> None:
    """Gives an experiment with the tags ``known`` the view. One that somebody has changed stays."""
    for key, value in tags(ms).items():
        if key not in known:
            client.set_experiment_tag(experiment, key, value)


def _state() -> dict[str, object]:
    shown = {f"metrics.`{name}`": width for name, width in _METRICS.items()}
    shown |= {f"tags.`{name}`": width for name, width in _TAGS.items()}
    widths = {"attributes.`Run Name`": 200, "runDateAndNestInfo": 125, **shown, "duration": 90}
    return {
        "selectedColumns": [*shown],
        "columnOrder": [*widths],
        "columnWidths": widths,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "searchFilter": SEARCHES,
    }
