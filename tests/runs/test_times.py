"""When operations were sent and answered: what a run leaves, and what is read of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.messages import SampleRequest
from orchestrator.explore.times import Timed, lines_of, read_times, times_of
from orchestrator.explore.work import work_of
from orchestrator.runs.times import FILE, Taken, TimesFile


def test_the_times_of_all_legs_are_read_from_the_first_operation_on(tmp_path: Path):
    TimesFile(tmp_path).add("a/b", {"a/b/sample/0": (100.0, 100.25), "a/b/score/0": (100.5, 100.5)})
    file = TimesFile(tmp_path)  # the run goes on
    file.add("a/b", {"a/b/sample/1": (160.0, 161.0)})
    file.add("c", {"c/sample/0": (7.0, 6.9)})  # the clock was set back
    file.add("d", {})
    found = read_times(tmp_path)
    assert found.keys() == {"a/b", "c"}
    assert times_of(found["a/b"]) == {
        "sample/0": Timed(0, 250),
        "score/0": Timed(500, 0),
        "sample/1": Timed(60_000, 1000),
    }
    assert times_of(found["c"]) == {"sample/0": Timed(0, 0)}
    assert lines_of(tmp_path, ["a/b", "a"]) == {"a/b": [line + b"\n" for line in found["a/b"]], "a": []}
    assert lines_of(tmp_path / "none", ["c"]) == {"c": []}


def test_what_an_operation_waited_for_a_place_at_a_replica_is_told_apart(tmp_path: Path, monkeypatch):
    taken = Taken()
    for now, replica, names in ((100.1, "g-0", "ab"), (100.2, "g-1", "a")):
        monkeypatch.setattr("time.time", lambda now=now: now)
        taken.note(replica, [SampleRequest(f"p/sample/{name}", (1,), 1, 7) for name in names])
    TimesFile(tmp_path, taken).add("p", {f"p/sample/{name}": (100.0, 100.25) for name in "abc"})
    (line,) = (tmp_path / FILE).read_bytes().splitlines()
    assert times_of([line]) == {
        "sample/a": Timed(0, 250, 200, ("g-0",)),  # it was lost with its replica, and taken again
        "sample/b": Timed(0, 250, 100),
        "sample/c": Timed(0, 250),
    }
    assert taken.pop("p/sample/a") is None, "it is forgotten"


def test_a_line_that_is_torn_costs_only_itself(tmp_path: Path):
    TimesFile(tmp_path).add("a", {"a/sample/0": (1.0, 2.0)})
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'["b",1.0,{"sample')
    assert [*read_times(tmp_path)] == ["a"]
    TimesFile(tmp_path).add("c", {"c/sample/0": (1.0, 2.0)})  # the run goes on
    assert [*read_times(tmp_path)] == ["a", "c"]
    assert read_times(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "line",
    [
        b'["a","x",{}]',
        b'["a",1.0,{"s":["x",1]}]',
        b'["a",1.0,{"s":[1]}]',
        b'["a",null,[]]',
        b'["a",1.0,{"\xff":[1,2]}]',
        b"\0",
        b'["a",1e308,{"s":[0,1]}]',
        b'["a",-1.0,{"s":[0,1]}]',
        b'["a",1.0,{"s":[0,1180591620717411303424]}]',
        b'["a",1.0,{"s":[0,-1]}]',
        b'["a",1.0,{"s":[0,9,-1]}]',
        b'["a",1.0,{"s":[0,9,1,"g-0"]}]',
    ],
)
def test_a_line_that_holds_no_times_costs_only_itself(tmp_path: Path, line: bytes):
    (tmp_path / FILE).write_bytes(line + b"\n")
    TimesFile(tmp_path).add("a", {"a/sample/0": (1.0, 2.0)})
    found = read_times(tmp_path)
    assert times_of(found["a"]) == {"sample/0": Timed(0, 1000)}
    work = work_of(found.values())
    assert work is not None
    assert (work.seconds, work.left_out) == (1.0, 0.0)


def test_a_disk_that_takes_no_times_costs_the_run_nothing_else(tmp_path: Path, caplog):
    file = TimesFile(tmp_path / "none")
    for _ in range(2):
        file.add("a", {"a/sample/0": (1.0, 2.0)})
    assert len(caplog.records) == 1
    assert "times.jsonl" in caplog.text
