"""What a run measures is summed over its legs, also where one of them was killed."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from orchestrator.runs.legs import FILE, Legs, read


def leg(directory, startup, *, ticks, begins=(), ends=(), replicas=2):
    """Writes a leg; each of ``ticks`` is its seconds, tokens and busy seconds so far."""
    legs = Legs(directory)
    legs.begin(startup, {"generator": replicas})
    for problem, second in begins:
        legs.problem_begins(problem, second)
    for problem, seconds, whole in ends:
        legs.problem_ends(problem, seconds, whole=whole)
    for tick in ticks:
        legs._write("tick", *tick)
    return legs


def test_seconds_tokens_and_utilisation_are_of_all_legs(tmp_path):
    leg(tmp_path, 3.0, ticks=[(5.0, 100, {"generator": 8.0}), (10.0, 200, {"generator": 20.0})])
    spent = leg(tmp_path, 2.0, ticks=[(30.0, 600, {"generator": 10.0})], replicas=1).spent
    assert (spent.startup_seconds, spent.seconds, spent.tokens) == (5.0, 40.0, 800)
    assert spent.utilisation == {"generator": (20 + 10) / (2 * 10 + 1 * 30)}
    assert read(tmp_path / FILE) == spent, "what is read again is what was measured"


def test_a_problem_counts_in_each_leg_in_which_it_was_at_work_and_a_replay_counts_nothing(tmp_path):
    first = leg(
        tmp_path,
        1.0,
        begins=[("done", 0.0), ("cut", 4.0), ("broke", 1.0)],
        ends=[("done", 7.0, True), ("broke", 2.0, False)],
        ticks=[(10.0, 1, {})],
    )
    assert first.seconds_of("done") == 7.0
    assert math.isnan(first.seconds_of("nobody's"))
    second = Legs(tmp_path)
    assert second.seconds_of("cut") == 6.0, "up to the last line before it was killed"
    second.begin(1.0, {})
    for problem in ("done", "cut", "broke"):
        second.problem_begins(problem, 0.0)
    second.problem_ends("done", 0.1)
    second.problem_ends("cut", 5.0)
    second.problem_ends("broke", 3.0)
    assert [second.seconds_of(problem) for problem in ("done", "cut", "broke")] == [7.0, 11.0, 5.0]


def test_a_line_that_a_killed_machine_left_torn_costs_only_itself(tmp_path):
    legs = leg(tmp_path, 1.0, ticks=[(10.0, 5, {})])
    with (tmp_path / FILE).open("a") as file:
        file.write('["tick", 11.0, \n[]\n["nonsense"]\n' + json.dumps(["tick", 12.0, 6, {}]) + "\n")
    assert read(tmp_path / FILE).seconds == 12.0
    assert legs.spent.seconds == 10.0


async def test_a_leg_is_noted_as_it_goes_on_and_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.runs.legs.TICK_SECONDS", 0.005)
    legs, seconds = Legs(tmp_path), iter(range(1000))
    legs.begin(0.0, {})

    async def work() -> None:
        with legs.ticking(lambda: (float(next(seconds)), 0, {})):
            await asyncio.sleep(0.05)
            assert read(tmp_path / FILE).seconds >= 1.0
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await work()
    assert read(tmp_path / FILE).seconds == legs.spent.seconds > 1.0


def test_a_full_disk_costs_a_run_its_measurements_alone(tmp_path, caplog):
    legs = Legs(tmp_path / "gone")
    legs.begin(1.0, {})
    assert "gone" in caplog.text
    assert legs.spent.startup_seconds == 1.0
