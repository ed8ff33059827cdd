"""What a run has found is on disk before anything is made of it, so that nothing can lose it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from orchestrator.runs import run as module
from orchestrator.runs.run import NoSummary, Run
from orchestrator.runs.session import Session
from tests.support.lab_engine import PROMPT, sampled, scored
from tests.support.paths import LAB_CONFIG


class LabEngine:
    """Looks like a deployment to a run."""

    pools: tuple = ()

    async def sample(self, request: SampleRequest) -> SampleResult:
        if "/select/" in request.id:  # a question that is longer than a problem
            request = replace(request, prompt=request.prompt[:PROMPT])
        return sampled(request)

    async def score(self, request: ScoreRequest) -> ScoreResult:
        return scored(request)

    async def forget(self) -> None: ...


class NoTracker:
    """Logs nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def tell(self, notice: object) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def metrics(self, metrics: object) -> None: ...

    def describe(self, name: str, description: str) -> None: ...

    def dataset(self, dataset: object) -> None: ...

    def table(self, path: Path) -> None: ...

    def trace(self, trace: object) -> None: ...

    def close(self, status: str, patience: float | None) -> None: ...


class Observer:
    def searching(self, *run: object) -> None: ...

    def result(self, result: object) -> None: ...

    def ended(self) -> None: ...

    def sampling_baseline(self, samples: int) -> None: ...

    def notice(self, line: str) -> None: ...


async def run(directory: Path, monkeypatch, observer: object = None, *more: str, role: str = "cell") -> Run:
    monkeypatch.setattr(module, "Tracker", NoTracker)
    overrides = ["problems.limit=3", "strategy.n=2", "strategy.width=2", f"runs={directory}", *more]
    prepared = prepare(load(LAB_CONFIG, overrides))
    with Run(prepared, "r", role=role) as record:
        await record.search(Session(LabEngine(), 0.5), observer or Observer())  # type: ignore[arg-type]
    return record


def rows(directory: Path) -> list[dict]:
    return pq.read_table(directory / "r" / "results.parquet").to_pylist()


@pytest.fixture
def breaks(monkeypatch):
    """Lets a function of the module raise an error."""

    def put(name: str) -> None:
        def broken(*args: object, **kwargs: object):
            raise ZeroDivisionError(name)

        monkeypatch.setattr(module, name, broken)

    return put


async def test_a_summary_that_cannot_be_made_leaves_the_results_and_says_so(tmp_path, monkeypatch, breaks):
    breaks("summarise")
    with pytest.raises(NoSummary, match=r"results\.parquet is whole, and has no summary: ZeroDivisionError"):
        await run(tmp_path, monkeypatch)
    assert [row["problem"] for row in rows(tmp_path)] == [f"lab-test-{i:04d}" for i in range(3)]
    assert not (tmp_path / "r" / "summary.json").exists(), "it is resumed, and its journal has all"


@pytest.mark.parametrize("name", ["last_points", "trace_of"])
async def test_tracking_that_fails_leaves_a_finished_run_and_is_said(tmp_path, monkeypatch, breaks, name):
    breaks(name)
    record = await run(tmp_path, monkeypatch)
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["problems"] == len(rows(tmp_path)) == 3
    assert record.untracked is not None
    assert name in record.untracked


async def test_a_display_that_fails_ends_no_search(tmp_path, monkeypatch):
    class Broken(Observer):
        def result(self, result: object) -> None:
            raise BrokenPipeError("the terminal is gone")

        def sampling_baseline(self, samples: int) -> None:
            raise BrokenPipeError("the terminal is gone")

    await run(tmp_path, monkeypatch, Broken())
    assert len(rows(tmp_path)) == 3
    assert "the terminal is gone" in (tmp_path / "r" / "run.log").read_text()


@pytest.mark.parametrize(("role", "chosen"), [("cell", True), ("difficulty", False), ("label", False)])
async def test_the_generator_chooses_only_in_a_run_whose_answers_count(tmp_path, monkeypatch, role, chosen):
    selection = ["selection.generative=true", "selection.template='{problem}{solutions}'"]
    room = "generator.engine.max_model_len=1024"
    await run(tmp_path, monkeypatch, None, *selection, room, role=role)
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert ("generative" in summary["accuracy"]) == chosen
    assert (summary["flops"]["selection"] > 0) == chosen
    assert {row["selection_flops"] > 0 for row in rows(tmp_path)} == {chosen}
