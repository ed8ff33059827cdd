"""A sweep: finished cells are kept, failures stay where they are, and engines are started once a group."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from actors.messages import PoolFailed, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.commands.sweep_display import SweepDisplay, table
from orchestrator.errors import BadInput
from orchestrator.runs import grid
from orchestrator.runs.session import Session
from orchestrator.runs.sweep import Sweep, finished, grouped
from orchestrator.runs.sweep_table import columns, rows
from orchestrator.tracking import tracker as tracking
from orchestrator.tracking.about import AGAIN
from tests.support.lab_engine import sampled, scored
from tests.support.paths import LAB_CONFIG as LAB
from tests.support.shared_engines import LAB as OF_SHARED_ENGINES

SECTION = """
  strategies:
    - {name: best_of_n, n: "${budget.generations}"}
    - {name: beam_search, n: "${budget.generations}", width: 2}
  grid:
    budget.generations: [2, 4]
    seed: [0, 1]
"""
OFFLINE = "tracking.uri=sqlite:////dev/null/mlflow.db"
"""A store that cannot be had: most of these tests are not about it."""


class LabEngine:
    """Looks like a deployment to a run."""

    pools: tuple = ()

    def __init__(self, engines: Engines) -> None:
        self._engines, self._requests, self._fail = engines, engines.requests, engines.fail
        self.forgotten = 0

    async def sample(self, request: SampleRequest) -> SampleResult:
        await asyncio.sleep(0)
        if self._fail and len(self._requests) % 20 == 19:
            if isinstance(failure := self._fail.pop(0), asyncio.CancelledError):
                assert self._engines.sweep is not None
                self._engines.sweep.cancel()  # as Ctrl-C does
                await asyncio.sleep(0)
            raise failure
        self._requests.append(request)
        return sampled(request)

    async def forget(self) -> None:
        self.forgotten += 1

    async def score(self, request: ScoreRequest) -> ScoreResult:
        await asyncio.sleep(0)
        return scored(request)


@dataclass
class Engines:
    """Counts its starts. ``fail``: raised by the samples to come, one each; ``refuse``: by the starts."""

    fail: list[BaseException] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)
    started: list[object] = field(default_factory=list)
    requests: list[SampleRequest] = field(default_factory=list)
    engines: list[LabEngine] = field(default_factory=list)
    open: int = 0
    sweep: asyncio.Task | None = None
    """What a CancelledError of ``fail`` interrupts."""

    @asynccontextmanager
    async def __call__(self, pools, cluster, observer) -> AsyncIterator[Session]:
        assert not self.open, "one session after the other"
        self.started.append(pools)
        if self.refuse:
            raise self.refuse.pop(0)
        self.open += 1
        self.engines.append(LabEngine(self))
        try:
            yield Session(self.engines[-1], 0.5)  # type: ignore[arg-type]
        finally:
            self.open -= 1


def read(directory: Path, *overrides: str, section: str = SECTION) -> grid.Grid:
    path = directory / "sweep.yaml"
    path.write_text(f"base: {LAB}\nname: s\nbaseline: 0\nproblems: {{limit: 3}}\nsweep: {section}")
    return grid.read(path, [f"runs={directory}/runs", OFFLINE, *overrides])


async def run(cells: grid.Grid, engines: Engines, shown: StringIO | None = None):
    screen = Console(file=shown or StringIO(), width=300)
    with SweepDisplay(screen) as display, pytest.MonkeyPatch.context() as patch:
        if cells.config.tracking.uri is not None:  # OFFLINE: it need not be waited for
            patch.setattr(tracking, "CLOSE_SECONDS", 0.0)
        sweep = Sweep(cells, engines=engines)
        engines.sweep = asyncio.create_task(sweep.run(display))
        return await engines.sweep


def digests(outcomes) -> dict[str, str]:
    return {outcome.cell.key: outcome.summary["solutions_sha256"] for outcome in outcomes}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nothing disturbed."""
    directory, engines = tmp_path_factory.mktemp("whole"), Engines()
    return directory, engines, asyncio.run(run(read(directory), engines))


def test_engines_are_started_once_and_every_cell_leaves_what_a_run_leaves(whole):
    directory, engines, outcomes = whole
    assert len(engines.started) == 1
    assert [outcome.state for outcome in outcomes] == ["done"] * 8
    assert engines.engines[0].forgotten == 8, "no cell finds in a cache what another left"
    for outcome in outcomes:
        cell = directory / "runs" / "s" / "cells" / outcome.cell.key
        assert {"config.yaml", "journal.sqlite", "results.parquet", "summary.json"} <= {
            path.name for path in cell.iterdir()
        }
        assert json.loads((cell / "summary.json").read_text())["run_id"] == f"s/cells/{outcome.cell.key}"
        assert outcome.summary["budget"]["amount"] == outcome.cell.config.budget.generations
    assert len(set(digests(outcomes).values())) == 8


async def test_finished_cells_are_kept_and_start_no_engines(whole):
    directory, _, outcomes = whole
    engines = Engines()
    again = await run(read(directory), engines)
    assert [outcome.state for outcome in again] == ["kept"] * 8
    assert digests(again) == digests(outcomes)
    assert not engines.started

    more = await run(read(directory, section=SECTION.replace("[2, 4]", "[2, 4, 6]")), engines)
    assert [outcome.state for outcome in more] == ["kept"] * 8 + ["done"] * 4
    assert len(engines.started) == 1


async def test_a_cell_that_fails_costs_the_others_nothing_and_goes_on_from_its_journal(whole, tmp_path):
    engines = Engines(fail=[PoolFailed("no replica is left")])
    engines.fail = [PoolFailed("no replica is left")]
    outcomes = await run(read(tmp_path), engines)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    assert [outcome.error for outcome in failed] == ["PoolFailed: no replica is left"]
    assert len(engines.started) == 2, "the cells after it had new engines"
    assert not (tmp_path / "runs" / "s" / "cells" / failed[0].cell.key / "summary.json").exists()

    before = len(engines.requests)
    again = await run(read(tmp_path), engines, shown := StringIO())
    assert [o.cell.key for o in again if o.state == "done"] == [failed[0].cell.key]
    assert digests(again) == digests(whole[2])
    (done,) = [outcome for outcome in again if outcome.state == "done"]
    assert done.summary["replayed"] > 0
    (said,) = [line for line in shown.getvalue().splitlines() if "the journal has" in line]
    assert said.startswith(f"{done.cell.key}: the journal has {done.summary['replayed']} operations, ")
    fresh = done.summary["operations"] - done.summary["replayed"]
    assert len(engines.requests) - before <= fresh < done.summary["operations"]


async def test_an_interrupted_sweep_goes_on_to_the_same_end(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.runs.run.IMPATIENT_SECONDS", 0.5)  # its store is away
    engines = Engines(fail=[asyncio.CancelledError()])
    with pytest.raises(asyncio.CancelledError):
        await run(read(tmp_path), engines)
    assert not engines.open
    again = await run(read(tmp_path), engines)
    assert {outcome.state for outcome in again} <= {"kept", "done"}
    assert digests(again) == digests(whole[2])


async def test_engines_that_do_not_start_fail_their_cells_and_no_others(tmp_path):
    models = "{grid: {seed: [0, 1]}, models: [{}, {generator.dtype: bfloat16}]}"
    cells = read(tmp_path, "strategy={name: best_of_n, n: 2}", section=models)
    engines = Engines(refuse=[PoolFailed("generator-0: does not start")])
    outcomes = await run(cells, engines)
    assert [outcome.state for outcome in outcomes] == ["failed"] * 2 + ["done"] * 2
    assert len(engines.started) == 2


async def test_a_cell_whose_problems_all_fail_has_failed_and_is_run_again(tmp_path):
    cells = read(tmp_path, section="{strategies: [{name: best_of_n, n: 2}]}")
    engines = Engines()

    class Refusing(LabEngine):
        async def sample(self, request):
            raise ValueError("no")

    @asynccontextmanager
    async def refusing(pools, cluster, observer):
        yield Session(Refusing(engines), 0.0)  # type: ignore[arg-type]

    (outcome,) = await run(cells, refusing)
    assert outcome.state == "failed"
    assert outcome.error.startswith("3 of 3 problems failed, all with ValueError: no (")
    assert rows(finished([outcome])) == [], "what it found is no result"
    (outcome,) = await run(cells, engines)
    assert outcome.state == "done"


def test_the_table_has_a_column_for_what_is_amiss_and_an_interval_for_one_seed(whole):
    outcomes = whole[2]
    assert all(set(row.counts.values()) == {0} for row in rows(finished(outcomes)))
    (first, *others) = [o for o in outcomes if o.cell.label == "best_of_n"]
    one = replace(first, summary={**first.summary, "failed": 2, "exhausted": 7, "unscored": 0})
    screen = Console(file=StringIO(), width=160)
    screen.print(table("s", rows(finished([one]))))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    heads = next(line for line in text.splitlines() if "strategy" in line)
    assert heads.split()[:6] == ["strategy", "N", "seeds", "failed", "cut", "short"]
    assert "not scored" not in text
    assert "one seed [95 % interval]" in text
    assert "0.0 [0, 56]" in text, "Wilson's, of no problem of three"
    both = replace(others[0], summary={**others[0].summary, "failed": 1})
    (row,) = rows(finished([one, both]))
    assert (row.counts["failed"], row.to_dict()["failed"]) == (3, 3)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_table_continues_below_itself_where_it_is_wider_than_the_terminal(whole, width):
    found = rows(finished(whole[2]))
    screen = Console(file=StringIO(), width=width)
    screen.print(table("s", found))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    for name, texts in columns(found)[1:]:
        assert all(one in text for one in (name, *texts)), name
    assert "…" not in text
    assert text.count("strategy") == (1 if width == 160 else text.count(" N"))


def test_the_table_has_the_share_of_copies_over_all_seeds_where_a_strategy_compares_its_samples(whole):
    outcomes = whole[2]
    (first, second) = [o for o in outcomes if o.cell.label == "best_of_n"][:2]
    one = replace(first, summary={**first.summary, "compared": 30, "copies": 20})
    other = replace(second, summary={**second.summary, "compared": 50, "copies": 20})
    found = rows(finished([one, other]))
    assert [(row.copies, row.to_dict()["copies"]) for row in found] == [(0.5, 0.5)]
    screen = Console(file=StringIO(), width=160)
    screen.print(table("s", found))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    heads = next(line for line in lines if "strategy" in line)
    assert heads.split()[:5] == ["strategy", "N", "seeds", "copies,", "%"]
    assert rows(finished([first]))[0].copies is None
    assert "copies" not in rows(finished([first]))[0].to_dict()


async def test_a_changed_configuration_is_not_taken_for_the_finished_one(whole):
    directory, *_ = whole
    for override in ("generator.temperature=0.5", "problems.limit=2"):
        with pytest.raises(BadInput, match=r"records another run: .* not as it was begun"):
            Sweep(read(directory, override))
    assert not Sweep(read(directory, "generator.replicas=4")).todo


def test_cells_that_the_same_engines_can_serve_are_one_group(tmp_path):
    models = """
  models:
    - {}
    - {verifier.model: null}
    - {verifier.model: "${lab:prm-weak}"}
    - {strategy.name: revisions, reviser.format: lab, generator.engine.max_model_len: 384}
    - {strategy.name: revisions, reviser.format: lab, reviser.model: "${lab:reviser}",
       reviser.engine.max_model_len: 384}
"""
    cells = read(tmp_path, "strategy={name: best_of_n, n: 4}", section=models).cells
    groups = [[cells.index(cell) for cell in members] for _, members in grouped(cells)]
    assert groups == [[0, 1, 4], [2], [3]]
    own, *_ = (pools for pools, _ in grouped([cells[3]]))
    assert own.reviser == own.generator
    assert len(own.started) == 2


async def test_cells_are_nested_in_the_sweeps_mlflow_run_and_go_on_in_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.runs.run.IMPATIENT_SECONDS", 60.0)  # a busy machine makes tables slowly
    cells = read(
        tmp_path,
        "tracking.uri=null",
        section="{strategies: [{name: best_of_n, n: 8}], grid: {seed: [0, 1]}, difficulty: {samples: 2}}",
    )
    asked = (
        "**s**: which of `best_of_n n=8` is best, 2 runs on 3 problems of lab: generator-s, scored by prm."
    )
    with pytest.raises(asyncio.CancelledError):
        await run(cells, Engines(fail=[asyncio.CancelledError()]))
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")

    def runs() -> dict[str, list]:
        (experiment,) = [e for e in client.search_experiments() if e.name == "lab"]
        found: dict[str, list] = {}
        for each in client.search_runs([experiment.experiment_id]):
            found.setdefault(each.data.tags["ttc.role"], []).append(each)
        return found

    (killed,) = runs()["sweep"]
    assert killed.info.status == "KILLED"
    outcomes = await run(cells, Engines())
    after = runs()
    (parent,) = after["sweep"]
    assert (parent.info.run_id, parent.info.status) == (killed.info.run_id, "FINISHED")
    assert (len(after["difficulty"]), len(after["cell"])) == (1, 2)
    for each in after["cell"] + after["difficulty"]:
        assert each.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert each.info.status == "FINISHED"
        (outcome,) = [o for o in outcomes if o.cell.key == each.data.tags["ttc.cell"]]
        assert each.data.metrics["flops/spent"] == outcome.summary["flops"]["spent"]
    assert "sweep s: 3 runs, best best_of_n n=8 " in parent.info.run_name
    assert "| best_of_n n=8 | " in parent.data.tags["mlflow.note.content"]
    tags = parent.data.tags
    assert (tags["strategies"], tags["seed"], tags["steered"]) == ("best_of_n", "0, 1", "no")
    assert "strategy" not in tags, "a filter for runs finds runs alone"
    commits = {each.data.tags.get("mlflow.source.git.commit") for each in after["cell"]}
    assert commits == {tags.get("mlflow.source.git.commit")}
    note = client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"]
    assert note.count(AGAIN) == 1, "the cells are one study"
    assert f"- {asked}{AGAIN}`ttc sweep {tmp_path}/runs/s/sweep.yaml`\n" in note
    assert "accuracy/best_of_n n_8" in parent.data.metrics
    named = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"comparison.svg", "cells.json", "sweep.yaml"} <= named


def test_the_table_is_by_strategy_and_budget_over_seeds(whole):
    outcomes = whole[2]
    found = rows(finished(outcomes))
    assert [(row.label, row.budget, row.seeds) for row in found] == [
        ("best_of_n", 2, (0, 1)),
        ("beam_search width=2", 2, (0, 1)),
        ("best_of_n", 4, (0, 1)),
        ("beam_search width=2", 4, (0, 1)),
    ]
    spent = [o.summary["flops"]["spent"] / 3 for o in outcomes if o.cell.label == "best_of_n"]
    assert found[0].flops == pytest.approx(sum(spent[:2]) / 2)
    screen = Console(file=StringIO(), width=120)
    screen.print(table("s", found))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "beam_search width=2" in text
    assert "0.0 ± 0.0" in text


def test_the_display_counts_cells_and_names_failures(whole):
    outcomes = whole[2]
    screen = Console(file=StringIO(), width=80)
    display = SweepDisplay(screen)
    display.planned(outcomes[:3], [outcome.cell for outcome in outcomes[3:]])
    display.outcome(outcomes[3])
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "8 cells, 3 of them finished before" in text
    assert f"[4/8] {outcomes[3].cell.key}: majority" in text


def test_a_sweep_through_the_command_with_real_models(tmp_path, monkeypatch, capsys, shared_command):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "small.yaml"
    config.write_text(
        f"base: {LAB}\nname: small\nbaseline: 0\nproblems: {{limit: 8}}\nsweep: "
        + SECTION.replace("seed: [0, 1]", "verifier.aggregation: [last, min]")
    )

    def swept() -> dict:
        assert shared_command("sweep", str(config), "--json", *OF_SHARED_ENGINES) == 0
        return json.loads(capsys.readouterr().out)

    first = swept()
    assert [cell["state"] for cell in first["cells"]] == ["done"] * 8
    assert {row["budget"]["generations"] for row in first["table"]} == {2, 4}
    work: dict[str, list[float]] = {}
    for cell in first["cells"]:
        flops = cell["summary"]["flops"]
        assert 0 < flops["spent"] <= flops["budget"]
        assert cell["summary"]["utilisation"]["generator"] > 0
        if "best_of_n" in cell["key"]:  # whose work no aggregation changes
            work.setdefault(cell["summary"]["solutions_sha256"], []).append(flops["computed_over_logical"])
    assert [len(ratios) for ratios in work.values()] == [2, 2]
    for before, after in work.values():
        # What siblings share depends on their timing; a memo that was kept would leave a third of this.
        assert after == pytest.approx(before, rel=0.3), "nothing is found in a cache of the cell before"

    again = swept()
    assert [cell["state"] for cell in again["cells"]] == ["kept"] * 8
    assert again["table"] == first["table"]
