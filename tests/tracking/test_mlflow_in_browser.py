"""The MLflow UI of a run, in Chromium: what somebody sees who opens it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.commands import ui
from orchestrator.commands.cli import run_command
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.runs.run import Run
from orchestrator.runs.session import Session
from orchestrator.tracking.tracker import Tracker, local_uri, tags_about, temporary_run_id
from tests.runs.test_record import LabEngine, Observer
from tests.support.browser import CHROMIUM, Watched, browsed
from tests.support.mlflow_server import Server
from tests.support.paths import LAB_CONFIG

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.server,
]

UP_SECONDS = 120
WIDTHS = (1280, 400)
WIDE = 2400
COLUMNS = ["Run Name", "Created", "accuracy", "accuracy_low", "accuracy_high", "flops_per_problem"]
COLUMNS += ["strategy", "budget", "seed", "Duration"]
SAYS = "words => document.body.innerText.replace(/\\s/g, '').includes(words.replace(/\\s/g, ''))"
"""Whether the page says something, however it breaks its lines."""
OURS = "about:srcdoc"
"""Where the scripts of an artifact are, in the words of the console."""
TALL = 6000
"""Pixels: MLflow's pages scroll within themselves, and draw what is seen."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of scripted engines, ``r``, with the page of its searches; and of a run that is
    made of it, as a report."""
    runs = tmp_path_factory.mktemp("runs")
    overrides = ["problems.limit=3", "strategy.n=2", "strategy.width=2", "baseline=0", f"runs={runs}"]
    prepared = prepare(load(LAB_CONFIG, overrides))

    async def search() -> None:
        with Run(prepared, "r") as run:
            await run.search(Session(LabEngine(), 0.5), Observer())  # type: ignore[arg-type]
        assert run.untracked is None

    asyncio.run(search())
    tags = {"ttc.role": "report", **tags_about(runs, prepared.config.tracking.experiment, None)}
    name = temporary_run_id("report")
    report = Tracker(runs, name, prepared.config.tracking.experiment, {}, title="A report", tags=tags)
    assert report.close() is None
    assert run_command(["explore", "r", "--runs", str(runs)]) == 0
    return runs


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    made = Server(store, local_uri(store))
    made.start()
    try:
        made.wait(UP_SECONDS)
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def watched(server: Server) -> Iterator[Watched]:
    with browsed(WIDTHS[0], TALL) as page:
        page.page.set_default_timeout(60_000)
        yield page


def columns(page: Any) -> list[str]:
    """The headers of the table of runs, from left to right."""
    page.set_viewport_size({"width": WIDE, "height": TALL})
    page.get_by_role("columnheader").filter(has_text="seed").last.wait_for()
    shown = [
        (header.bounding_box()["x"], header.inner_text().strip())
        for header in page.locator(".ag-header-cell").all()
    ]
    return [name for _, name in sorted(shown) if name]


def test_the_experiment_opens_on_its_runs_and_a_run_tells_what_it_found(
    store: Path, server: Server, watched: Watched
):
    client, page = MlflowClient(server.uri), watched.page
    (where,) = client.search_experiments(filter_string="name != 'Default'")
    (run,) = client.search_runs([where.experiment_id], "tags.`ttc.role` = 'cell'")
    asked = client.get_experiment(run.info.experiment_id).tags["mlflow.note.content"]
    assert f"`ttc run {store}/r/config.yaml`" in asked
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": TALL})
        (address,) = ui._pages(local_uri(store)).values()
        page.goto(f"{server.uri}/{address}")  # as ``ttc ui`` says
        page.get_by_text("1 matching run").wait_for()  # the report is none of them
        if width == WIDTHS[0]:
            page.get_by_text(run.info.run_name[:14]).first.wait_for()
            assert columns(page) == COLUMNS
        of_run = f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        page.goto(of_run)
        page.get_by_role("heading", name=run.info.run_name).wait_for()
        page.get_by_text("Description", exact=True).first.wait_for()
        page.get_by_text("computed / charged").first.wait_for()  # of the table in the description
        for tag in ("strategy", "steered", "budget"):
            page.wait_for_function(SAYS, arg=f"{tag}: {run.data.tags[tag]}")
        page.get_by_text("accuracy_high").first.wait_for()
        page.goto(f"{of_run}/traces")  # right or wrong by each rule
        for name in ("expected", "majority", "best", "weighted"):
            page.get_by_text(name, exact=True).first.wait_for(state="attached")
        page.goto(f"{of_run}/artifacts/explore.html")
        explorer = page.frame_locator("iframe")
        explorer.locator(".rows li").first.wait_for(state="attached")
        assert explorer.locator(".rows li").count() == 3
        assert "beam_search" in explorer.locator("#head #overview").inner_text()
    assert not [fault for fault in watched.faults if OURS in fault]
    assert {request.split("/")[2] for request in watched.requests if "://" in request} == {
        f"127.0.0.1:{server.port}"
    }
