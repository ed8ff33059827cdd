"""What was under way over a run's time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from actors.messages import SampleRequest
from orchestrator.explore import work
from orchestrator.explore.times import read_times
from orchestrator.explore.work import POINTS, work_of
from orchestrator.runs.times import Taken, TimesFile
from tests.explore.test_live import live
from tests.support.explored import PROBLEMS, reader, searched

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
    told = work_of(read_times(tmp_path).values())
    assert told is not None
    assert (told.seconds, told.left_out) == (10.0, 0.0)
    generator, verifier = told.pools
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
    told = work_of(read_times(tmp_path).values())
    assert told is not None
    assert (told.seconds, told.left_out) == (20.0, 3890.0)
    (generator, _) = told.pools
    half = POINTS // 2
    assert generator.computing[half:] == pytest.approx([1.0] * half)
    width = told.seconds / POINTS
    assert sum(generator.computing) * width == pytest.approx(generator.computed, rel=0.01)


def test_revisions_are_the_revisers_where_it_is_a_model_of_its_own(tmp_path: Path):
    TimesFile(tmp_path).add("a", {"a/sample/0": (0.0, 1.0), "a/revise/0.0": (1.0, 2.0)})
    times = read_times(tmp_path).values()
    (one,) = work_of(times).pools
    assert (one.pool, one.operations) == ("generator", 2)
    assert [pool.pool for pool in work_of(times, reviser=True).pools] == ["generator", "reviser"]


def test_however_many_operations_there_are_the_means_are_those_of_each_of_them(monkeypatch):
    monkeypatch.setattr(work, "MOST_CHANGES", 2000)
    random, legs = np.random.default_rng(3), []
    for name in range(300):
        sent, waited = random.uniform(0, 60, 40), random.exponential(0.5, 40)
        operations = {
            f"sample/{at}": [round(1000 * s), round(1000 * (w + 1.5)), round(1000 * w)]
            for at, (s, w) in enumerate(zip(sent - sent.min(), waited, strict=True))
        }
        legs.append((f"p{name}", 1e9 + float(name), operations))
    lines = [json.dumps(leg).encode() for leg in legs]
    told = work_of([lines])
    backwards = work_of([lines[::-1]])
    assert told is not None
    assert backwards is not None
    (pool,), (other,) = told.pools, backwards.pools
    assert (pool.operations, pool.waited, pool.computed) == (12_000, other.waited, other.computed)
    assert pool.computing == pytest.approx(other.computing, rel=0.02)
    for state, values in (("waiting", pool.waiting), ("computing", pool.computing)):
        spans = [
            began + np.array([s, s + w] if state == "waiting" else [s + w, s + lasted]) / 1000
            for _, began, operations in legs
            for s, lasted, w in operations.values()
        ]
        begin, end = np.array(spans).T
        first = min(began for _, began, _ in legs)
        edges = np.linspace(first, first + told.seconds, POINTS + 1)
        exact = np.diff((np.clip(edges[:, None], begin, end) - begin).sum(axis=1)) / (told.seconds / POINTS)
        assert values == pytest.approx(list(exact), abs=0.01 * max(exact))


def test_without_times_there_is_nothing_to_show(tmp_path: Path):
    assert work_of(read_times(tmp_path).values()) is None
    assert work_of([[b'["a",1.0,{}]'], [b'["a","x",{}]']]) is None


async def test_a_run_that_goes_on_tells_it_of_the_searches_that_have_ended(
    tmp_path: Path,
):
    await searched(tmp_path / "run", "beam_search", n=4, width=2)
    followed = live(tmp_path / "run")
    followed.refresh()
    assert followed.since(0).head.work is None
    times = TimesFile(tmp_path / "run")
    times.add("p", {"p/sample/0": (5.0, 5.25), "p/score/0": (5.25, 5.5)})
    assert followed.refresh()
    version = followed.since(0).version
    assert [(pool.pool, pool.operations) for pool in followed.since(0).head.work.pools] == [
        ("generator", 1),
        ("verifier", 1),
    ]
    assert not followed.refresh(), "nothing has happened"
    times.add("q/1", {"q/1/sample/0": (4.0, 7.0)})  # it began before the one that ended first
    assert followed.refresh()
    told = followed.since(version)
    assert told.version > version
    with reader(tmp_path / "run", problems=PROBLEMS) as whole:
        assert [*whole.trees()]
        assert told.head.work == whole.explored().work
    assert told.head.work.seconds == 3
