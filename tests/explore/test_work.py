"""What was under way over a run's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.messages import SampleRequest
from orchestrator.explore.times import read_times
from orchestrator.explore.work import POINTS, work_of
from orchestrator.runs.times import Taken, TimesFile

SAMPLED = {"a/sample/0": (100.0, 110.0), "a/sample/1": (100.0, 105.0), "a/score/0": (105.0, 110.0)}


def kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> TimesFile:
    """Times of two samples, of which the second waited for 2 s, and of a score of which nobody knows."""
    taken = Taken()
    for now, name in ((100.0, "0"), (102.0, "1")):
        monkeypatch.setattr("time.time", lambda now=now: now)
        taken.note("generator-0", [SampleRequest(f"a/sample/{name}", (1,), 1, 7)])
    monkeypatch.undo()
    file = TimesFile(directory, taken)
    file.add("a", SAMPLED)
    return file


def test_what_waits_and_what_a_replica_has_is_told_apart_by_pool(tmp_path: Path, monkeypatch):
    kept(tmp_path, monkeypatch)
    work = work_of(read_times(tmp_path).values())
    assert work is not None
    assert (work.seconds, work.left_out) == (10.0, 0.0)
    generator, verifier = work.pools
    assert (generator.pool, generator.operations, generator.untold) == ("generator", 2, 0)
    assert (generator.waited, generator.computed) == (2.0, 13.0)
    assert (verifier.pool, verifier.operations, verifier.untold) == ("verifier", 1, 1)
    assert (verifier.waited, verifier.computed) == (0.0, 5.0)
    second = POINTS // 10
    assert generator.waiting[: 2 * second] == pytest.approx([1.0] * 2 * second)
    assert generator.waiting[2 * second :] == pytest.approx([0.0] * 8 * second, abs=1e-9)
    assert generator.computing[0] == pytest.approx(1.0)
    assert generator.computing[3 * second] == pytest.approx(2.0)
    assert generator.computing[-1] == pytest.approx(1.0)
    assert verifier.computing[: 5 * second] == pytest.approx([0.0] * 5 * second, abs=1e-9)
    assert verifier.computing[5 * second :] == pytest.approx([1.0] * 5 * second)


def test_the_time_in_which_a_run_had_stopped_is_left_out(tmp_path: Path, monkeypatch):
    file = kept(tmp_path, monkeypatch)
    file.add("b", {"b/sample/0": (4000.0, 4010.0)})  # the run goes on
    work = work_of(read_times(tmp_path).values())
    assert work is not None
    assert (work.seconds, work.left_out) == (20.0, 3890.0)
    (generator, _) = work.pools
    half = POINTS // 2
    assert generator.computing[half:] == pytest.approx([1.0] * half)
    width = work.seconds / POINTS
    assert sum(generator.computing) * width == pytest.approx(generator.computed, rel=0.01)


def test_revisions_are_the_revisers_where_it_is_a_model_of_its_own(tmp_path: Path):
    TimesFile(tmp_path).add("a", {"a/sample/0": (0.0, 1.0), "a/revise/0.0": (1.0, 2.0)})
    times = read_times(tmp_path).values()
    (one,) = work_of(times).pools
    assert (one.pool, one.operations) == ("generator", 2)
    assert [pool.pool for pool in work_of(times, reviser=True).pools] == ["generator", "reviser"]


def test_without_times_there_is_nothing_to_show(tmp_path: Path):
    assert work_of(read_times(tmp_path).values()) is None
    assert work_of([[b'["a",1.0,{}]'], [b'["a","x",{}]']]) is None
