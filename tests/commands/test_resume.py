"""``ttc resume``: a finished run is shown, one that was cut short goes on with what it has measured."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pyarrow.parquet as pq
import pytest

from actors.messages import PoolFailed, SampleRequest, SampleResult
from orchestrator.commands import launch
from orchestrator.commands.cli import run_command
from orchestrator.commands.terminal import console
from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, fingerprints, prepare
from orchestrator.durability.journal import JournalDamaged
from orchestrator.problems.problem import Problem
from orchestrator.runs import legs as measured
from orchestrator.runs.results import Summary
from orchestrator.runs.run import SUMMARY, Run, stored_summary
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import CODEC, EOS, GENERATOR, ScriptedEngine, flops_budget

PROBLEMS = 3


@dataclass
class Engines(ScriptedEngine):
    """Ends the run as a kill would, after so many samples."""

    left: int = 10**9
    last: Callable[[], None] | None = None
    """Is called before the run ends so."""
    pool: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            spec=SimpleNamespace(name="generator", replicas=2), busy_seconds=0.0, running=0, waiting=0
        )
    )

    async def forget(self) -> None: ...

    async def sample(self, request: SampleRequest) -> SampleResult:
        await asyncio.sleep(0.02)
        self.pool.busy_seconds += 0.01
        self.left -= 1
        if self.left < 0:
            if self.last is not None:
                self.last()
                await asyncio.sleep(0.1)
            raise PoolFailed("the end of this leg")
        return await super().sample(request)


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch) -> None:
    tracker = MagicMock()
    tracker.return_value.close.return_value = None
    monkeypatch.setattr("orchestrator.runs.run.Tracker", tracker)


@pytest.fixture
def prepared(tmp_path) -> Prepared:
    own = [f"runs={tmp_path}", "strategy={name: best_of_n, n: 4}", "verifier.model=null", "max_searches=1"]
    return replace(
        prepare(load(LAB_CONFIG, [*own, f"problems.limit={PROBLEMS}"])),
        problems=[Problem(f"p{i}", f"{i}+1?", "") for i in range(PROBLEMS)],
        prompts=[CODEC.encode(f"{i}+1?") for i in range(PROBLEMS)],
        codec=CODEC,
        generator=GENERATOR,
        budget=flops_budget(10**12, PROBLEMS),
    )


def leg(prepared: Prepared, name: str, *, samples: int = 10**9) -> Summary:
    engines = Engines(left=samples)
    session = SimpleNamespace(pools_of=lambda _: [engines.pool], deployment=engines, startup_seconds=2.0)

    async def run() -> Summary:
        with Run(prepared, name) as record:
            return await record.search(session, MagicMock())

    return asyncio.run(run())


def test_a_run_in_two_legs_ends_as_one_and_its_measurements_are_summed(prepared, tmp_path):
    whole = leg(prepared, "whole")
    with pytest.raises(PoolFailed):
        leg(prepared, "cut", samples=6)
    cut = measured.read(tmp_path / "cut" / measured.FILE)
    both = leg(prepared, "cut")
    assert (both.solutions_sha256, both.flops) == (whole.solutions_sha256, whole.flops)
    assert both.replayed > 0
    assert both.startup_seconds == 4.0
    assert 0 < cut.seconds < both.seconds
    assert both.utilisation["generator"] == pytest.approx(12 * 0.01 / (2 * both.seconds), rel=0.35)
    tokens = sum(s["tokens"] for s in rows(tmp_path / "cut", "solutions"))
    assert tokens <= both.tokens_per_second * both.seconds + 1e-6
    first, *_ = rows(tmp_path / "cut", "seconds")
    assert first == cut.problems["p0"] > 0.02, "of the leg that searched it, not of the one that replayed it"
    assert 0.02 * PROBLEMS < sum(rows(tmp_path / "cut", "seconds")) <= both.seconds  # one search at a time


def rows(directory: Path, column: str) -> list:
    found = pq.read_table(directory / "results.parquet").to_pylist()
    return (
        [each for row in found for each in row[column]]
        if column == "solutions"
        else [r[column] for r in found]
    )


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


@pytest.fixture
def finished(prepared, monkeypatch) -> Path:
    leg(prepared, "lab-1")

    def started(*arguments: object) -> None:
        pytest.fail("engines were started")

    monkeypatch.setattr(launch, "run", started)
    return Path(prepared.config.runs) / "lab-1"


def test_a_finished_run_is_shown_as_it_is_stored_and_nothing_is_changed(finished, capsys):
    before = files(finished)
    command = ["resume", "lab-1", "--runs", str(finished.parent)]
    assert run_command([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((finished / SUMMARY).read_text())
    assert err == "run lab-1 is finished; its summary, as it is stored:\n"
    assert run_command([*command, "generator.replicas=1"]) == 0
    shown = capsys.readouterr().out
    assert "search, majority" in shown
    assert f"{PROBLEMS} answered" in shown
    assert files(finished) == before


def test_a_summary_is_read_as_it_was_written(finished):
    stored = stored_summary(finished)
    assert stored is not None
    assert json.loads(json.dumps(Summary.from_dict(stored).to_dict())) == stored


def test_a_summary_of_an_earlier_version_is_shown_as_json(finished, capsys):
    stored = json.loads((finished / SUMMARY).read_text())
    del stored["latency"]
    (finished / SUMMARY).write_text(json.dumps(stored))
    assert run_command(["resume", "lab-1", "--runs", str(finished.parent)]) == 0
    assert json.loads(capsys.readouterr().out) == stored


def test_a_run_of_which_too_many_searches_failed_is_not_finished(tmp_path):
    (tmp_path / SUMMARY).write_text('{"failed": 2, "problems": 20}')
    assert stored_summary(tmp_path) is None
    (tmp_path / SUMMARY).write_text('{"failed": 1, "problems": 20}')
    assert stored_summary(tmp_path) is not None
    (tmp_path / SUMMARY).write_text('{"failed": ')
    assert stored_summary(tmp_path) is None
    assert stored_summary(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=5", "seed: 5 is not usable; the run was begun with 0"),
        ("strategy.n=8", "strategy.n: 8 is not usable; the run was begun with 4"),
        ("generator.temperature=0.5", "generator.temperature: 0.5 is not usable; the run was begun with"),
        ("sed=5", "sed: unknown key; did you mean seed?"),
    ],
)
def test_the_key_that_would_make_another_run_is_named(finished, capsys, override, said):
    assert run_command(["resume", "lab-1", "--runs", str(finished.parent), override]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ttc: {said}")
    assert err.count("\n") == 1


def test_a_run_of_an_earlier_version_goes_on_as_it_was_begun(prepared, tmp_path, monkeypatch):
    prepared.config.allocation.pass_on = False
    with pytest.raises(PoolFailed):
        leg(prepared, "cut", samples=6)
    stored = tmp_path / "cut" / "config.yaml"
    stored.write_text(stored.read_text().replace("  pass_on: false\n", ""))  # which knew no such key
    assert "pass_on" not in stored.read_text()
    resumed = []

    def run(config: Prepared, *arguments: object, **options: object) -> int:
        resumed.append(config)
        return 0

    monkeypatch.setattr(launch, "run", run)
    assert run_command(["resume", "cut", "--runs", str(tmp_path)]) == 0
    (config,) = [each.config for each in resumed]
    assert not config.allocation.pass_on
    assert fingerprint(config) == fingerprint(prepared.config)


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_journal_that_is_gone_is_damage_and_not_a_new_beginning(prepared, tmp_path, what):
    with pytest.raises(PoolFailed):
        leg(prepared, "cut", samples=6)
    journal = tmp_path / "cut" / "journal.sqlite"
    if what == "empty":
        journal.write_bytes(b"")
    else:
        journal.unlink()
    before = (tmp_path / "cut" / "config.yaml").read_bytes()
    with pytest.raises(JournalDamaged, match=rf"journal\.sqlite is {what}, and this run had begun"):
        leg(prepared, "cut")
    assert (tmp_path / "cut" / "config.yaml").read_bytes() == before


OWN = "async def search(ops, n: int = 4):\n    return await ops.sample(ops.root, n, until='end')\n"


@pytest.fixture
def engines(monkeypatch) -> Engines:
    """Takes the place of a session's engines: it writes three of the lab's symbols, and ends."""
    made = Engines(lambda request, text, rng: "".join(map(chr, rng.choices(range(7, 13), k=3))) + EOS)
    made.pools = []

    @asynccontextmanager
    async def session(pools, cluster, observer):
        yield SimpleNamespace(pools_of=lambda _: [], deployment=made, startup_seconds=0.0)

    monkeypatch.setattr("orchestrator.runs.session.session", session)
    return made


@pytest.fixture
def cut(tmp_path, engines, capsys) -> list[str]:
    """A run of a user's own strategy that was cut short. Returns the command that goes on."""
    (tmp_path / "own.py").write_text(OWN)
    own = [f"strategy={{name: '{tmp_path}/own.py:search'}}", "verifier.model=null", "max_searches=1"]
    runs = tmp_path / "runs"
    engines.left = 6
    assert run_command(["run", str(LAB_CONFIG), f"runs={runs}", "problems.limit=3", *own, "--json"]) == 1
    out, err = capsys.readouterr()
    (directory,) = runs.glob("*-*")
    command = ["resume", directory.name, "--runs", str(runs)]
    told = json.loads(out)
    assert told == {"error": "the end of this leg", "resume": " ".join(["ttc", *command])}
    assert err.endswith(f"To go on: {told['resume']}\n")
    engines.left = 10**9
    return command


def test_a_file_that_has_changed_is_named_and_is_bad_input(cut, tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN + "# changed\n")
    assert run_command([*cut, "--json"]) == 2
    out, err = capsys.readouterr()
    line = "records another run: the file own.py (strategy.name) is not as it was begun with; put back what"
    assert line in err
    told = json.loads(out)
    assert line in told["error"]
    assert "resume" not in told
    (tmp_path / "own.py").write_text(OWN)
    assert run_command(cut) == 0


def test_a_program_is_told_how_an_interrupted_run_goes_on(cut, engines, capsys):
    engines.left, engines.last = 2, lambda: signal.raise_signal(signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    assert run_command([*cut, "--json"]) == 130
    signal.signal(signal.SIGTERM, before)
    out, err = capsys.readouterr()
    command = " ".join(["ttc", *cut])
    assert json.loads(out) == {"error": "interrupted", "resume": command}
    assert err.endswith(f"interrupted; what was computed is kept. To go on: {command}\n")


def test_a_run_goes_on_on_another_host_where_its_directory_is_mounted_elsewhere(
    engines, tmp_path, capsys, monkeypatch
):
    """A file that is named by a relative path is looked for where the command is called; the
    journal's lock names the first host."""
    first, second = tmp_path / "first", tmp_path / "second" / "home"
    for home in (first, second):
        home.mkdir(parents=True)
        (home / "own.py").write_text(OWN)
    monkeypatch.chdir(first)
    run = ["run", str(LAB_CONFIG), "problems.limit=3", "strategy={name: 'own.py:search'}", "max_searches=1"]
    run += ["verifier.model=null", "--json"]
    assert run_command([*run, "runs=whole"]) == 0
    whole = json.loads(capsys.readouterr().out)
    engines.left = 6
    monkeypatch.setattr("platform.node", lambda: "first-host")
    assert run_command([*run, "runs=runs"]) == 1
    engines.left = 10**9
    (directory,) = Path("runs").glob("*-*")
    assert " on first-host" in (directory / "journal.lock").read_text()
    capsys.readouterr()

    shutil.move(first / "runs", tmp_path / "mounted")
    for name in ("platform.node", "socket.gethostname"):
        monkeypatch.setattr(name, lambda: "second-host")
    monkeypatch.chdir(second)
    status = run_command(["resume", directory.name, "--runs", "../../mounted", "--json"])
    assert status == 0, capsys.readouterr().err
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["replayed"] == 6
    assert resumed["solutions_sha256"] == whole["solutions_sha256"]
    assert resumed["flops"]["spent"] == whole["flops"]["spent"]
    assert {path.name for path in second.iterdir()} <= {"own.py", "__pycache__"}, "it writes nothing there"


def test_what_the_journal_gives_back_is_said_before_the_run_goes_on(cut, capsys):
    assert run_command([*cut, "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    said = next(line for line in err.splitlines() if line.startswith("the journal has "))
    assert said.startswith(f"the journal has {summary['replayed']} operations, ")
    assert said.endswith("FLOPs already paid: they are not done again")
    paid, unit = said.split(", ")[1].split()[:2]
    assert unit == "MFLOPs"
    assert 0 < float(paid) * 1e6 < summary["flops"]["spent"]


def test_a_run_goes_on_with_a_new_secret(tmp_path):
    def prints(token: str | None) -> tuple[str, ...]:
        given = [] if token is None else [f"generator.engine.hf_token={token}"]
        return fingerprints(prepare(load(LAB_CONFIG, [f"runs={tmp_path}", "problems.limit=1", *given])))

    plain, old, new = prints(None), prints("hf_old_token"), prints("hf_new_token")
    assert len(plain) == 1
    assert old[0] == new[0] == plain[0], "a secret takes no part"
    assert old[1] != new[1], "as earlier versions had it: their journals go on with the same secret"


@pytest.mark.parametrize(
    ("samples", "said"), [(0, "nothing was computed"), (6, "what was computed is kept. To go on: ttc resume")]
)
def test_what_is_kept_is_promised_only_where_something_is(prepared, monkeypatch, capsys, samples, said):
    engines = Engines(left=samples)

    @asynccontextmanager
    async def session(pools, cluster, observer):
        if not samples:
            raise PoolFailed("cluster.address=h:1: nobody answers there")
        yield SimpleNamespace(pools_of=lambda _: [], deployment=engines, startup_seconds=0.0)

    engines.pools = []
    monkeypatch.setattr("orchestrator.runs.session.session", session)
    import sys

    assert launch.run(prepared, False, console(sys.stderr)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(said)
    assert sum(line.startswith("ttc: ") for line in lines) == 1
