"""What is shown while engines start, and how long a sweep will take."""

from __future__ import annotations

import asyncio
from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from actors import printed
from actors.messages import ReplicaInfo
from orchestrator.commands import display
from orchestrator.commands.display import Display
from orchestrator.commands.sweep_display import SweepDisplay, duration, work

INFO = ReplicaInfo("generator-0", "n", 1, 128, 16, 1000, 1.0)


@pytest.fixture(autouse=True)
def nothing_printed(monkeypatch):
    """What replicas of this process's other tests have printed is not seen here."""
    monkeypatch.setattr(display, "PRINTED", printed.Printed())


async def test_who_is_up_and_who_is_waited_for_is_told_while_engines_start(monkeypatch):
    monkeypatch.setattr(display, "STARTING_SECONDS", 0.01)
    stream = StringIO()
    with Display(Console(file=stream, width=200)) as shown:
        shown.starting(["generator-0", "generator-1", "verifier-0"])
        shown.ready(INFO)
        await asyncio.sleep(0.05)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == [
        "starting Ray and 3 replicas …",
        "  generator-0 up after 0 s; 1,000 tokens of KV cache",
    ]
    assert lines[2] == "1 of 3 replicas up, 0 s; not yet: generator-1, verifier-0"
    count = len(lines)
    await asyncio.sleep(0.03)
    assert len(stream.getvalue().splitlines()) == count, "nothing is said after the end"


def test_many_that_are_waited_for_are_counted():
    shown = Display(Console(file=StringIO()))
    shown._names = [f"generator-{i}" for i in range(10)]
    assert shown.who_is_up.endswith("generator-6, generator-7, 2 more")


@pytest.mark.parametrize("width", [80, 40])
def test_each_replica_that_starts_stands_with_its_phase_and_seconds(monkeypatch, width):
    now = 100.0
    for module in (display, printed):
        monkeypatch.setattr(module.time, "monotonic", lambda: now)
    stream = StringIO()
    shown = Display(Console(file=stream, width=width), "beam_search n=32 on 16 problems of lab")
    shown._names, shown._began = ["generator-0", "generator-1", "verifier-0"], now
    shown._engines_start = True
    shown.ready(INFO)
    stream.truncate(0)
    assert display.PRINTED.add("generator-1", [":phase:configure", "a word", ":phase:load"]) == ["a word"]
    now = 107.0
    shown.console.print(display._Starting(shown))
    assert stream.getvalue().strip("\0").splitlines() == [
        "1 of 3 replicas up, 7 s",
        "  generator-1 (load, 7 s)",
        "  verifier-0",
    ]
    display.PRINTED.forget(["generator-1"])
    assert display.PRINTED.with_phase("generator-1") == "generator-1"


def generators(
    replicas: int, *, retried: int = 0, tokens: int = 0, busy: float = 0.0, running: int = 0, waiting: int = 0
) -> SimpleNamespace:
    """A pool of generators, one of which is up."""
    return SimpleNamespace(
        spec=SimpleNamespace(name="generator", replicas=replicas),
        stats=SimpleNamespace(retried=retried, tokens=tokens),
        busy_seconds=busy,
        running=running,
        waiting=waiting,
        up=[INFO],
    )


@pytest.mark.parametrize("width", [80, 40])
def test_the_live_view_says_what_runs_how_it_stands_and_what_waits(monkeypatch, width):
    stream, now = StringIO(), 100.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    shown = Display(Console(file=stream, width=width), "beam_search n=32 on 16 problems of lab")
    controller = SimpleNamespace(budget=SimpleNamespace(spent=4e9, limit=1e10))
    pool = generators(2, retried=5, tokens=1000, busy=7.0, running=64, waiting=1200)
    shown.searching(controller, SimpleNamespace(pools=[pool]), 16)
    assert shown.accuracy(", ") == "no problem has ended yet"
    pool.stats.retried, pool.stats.tokens, pool.busy_seconds = 8, 61_000, 52.0
    for right in (True, True, True, False):
        shown.result(
            SimpleNamespace(covered=True, correct={"majority": False, "weighted": right}, error=None)
        )
    now = 130.0
    shown.console.print(display._View(shown))
    assert all(len(line) <= width for line in stream.getvalue().splitlines())
    text = " ".join(stream.getvalue().split())
    assert "beam_search n=32 on 16 problems of lab" in text
    assert "weighted 75 % [30, 95]" in text
    assert "majority 0 %" in text
    assert "30 s, about 2 min left, 2,000 tokens/s" in text
    assert "64 running, 1,200 waiting, 75 % busy, 3 done again, 1 of 2 up" in text
    assert shown.standing().endswith(
        "4 GFLOPs of 10 GFLOPs, 30 s, about 2 min left, 2,000 tokens/s; generator 75 % busy, 3 done again, "
        "1 of 2 up"
    )


def test_what_is_shown_as_the_searches_end_stays_while_engines_are_taken_down(monkeypatch):
    stream, now = StringIO(), 100.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    shown = Display(Console(file=stream, width=100, force_terminal=True))
    pool = generators(1, running=1)
    controller = SimpleNamespace(budget=SimpleNamespace(spent=0, limit=1e10))
    with shown:
        shown.searching(controller, SimpleNamespace(pools=[pool]), 1)
        now, pool.stats.tokens, pool.busy_seconds = 110.0, 1000, 10.0
        shown.result(SimpleNamespace(covered=True, correct={"weighted": True}, error=None))
        shown.ended()
        now, pool.up = 150.0, []
        stream.truncate(0)
        shown.console.print(shown._view)
        text = stream.getvalue()
        assert "10 s, 100 tokens/s" in text
        assert "1 running, 0 waiting, 100 % busy" in text
        assert "0 of 1 up" not in text
        shown.searching(controller, SimpleNamespace(pools=[pool]), 1)
        stream.truncate(0)
        shown.console.print(shown._view)
        assert "0 of 1 up" in stream.getvalue(), "the next run is shown as it is"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (42, "42 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (3 * 3600, "3 h"),
        (86_400, "24 h"),
        (5 * 86_400, "5 days"),
        (1e293, "more than 99 days"),
        (float("inf"), "more than 99 days"),
        (float("nan"), "more than 99 days"),
    ],
)
def test_a_time_is_told_in_words(seconds, words):
    assert duration(seconds) == words


def cell(*, generations: float, n: object = None, problems: int = 10) -> SimpleNamespace:
    params = {} if n is None else {"n": n}
    prepared = SimpleNamespace(
        strategy=SimpleNamespace(params=params),
        problems=range(problems),
        budget=SimpleNamespace(generations=generations, flops=10**300),
    )
    return SimpleNamespace(prepared=prepared, key="k")


def test_a_cells_work_is_what_it_asks_for_and_no_more_than_its_budget_buys():
    assert work(cell(generations=1e290, n=8)) == 80
    assert work(cell(generations=4, n=8)) == 40
    assert work(cell(generations=1e290)) == 160
    assert work(cell(generations=0.1, n=8)) == 10


def test_the_page_of_a_sweep_is_told_of_each_cell():
    told = []
    page = SimpleNamespace(begin=lambda run, prepared: told.append((run, prepared)))
    one = cell(generations=4)
    one.config = SimpleNamespace(name="s")
    SweepDisplay(Console(file=StringIO()), page).cell(one)
    assert told == [("s/cells/k", one.prepared)]


def test_a_budget_without_end_does_not_spoil_the_estimate(monkeypatch):
    now = 0.0
    clock = SimpleNamespace(monotonic=lambda: 1e6 + now)
    for module in ("sweep_display", "display"):
        monkeypatch.setattr(f"orchestrator.commands.{module}.time", clock)
    shown = SweepDisplay(Console(file=StringIO()))
    cells = [cell(generations=1e290, n=4), cell(generations=4, n=4), cell(generations=8, n=16)]
    shown.planned([], cells)
    assert shown._left() == ""
    shown.searching(cast(Any, SimpleNamespace()), cast(Any, SimpleNamespace(pools=[])), 10)
    now = 3600.0
    outcome = SimpleNamespace(cell=cells[0], error="x", summary=None)
    shown.outcome(outcome)
    assert shown._left() == "; about 3 h left"


async def test_engines_that_did_not_start_are_not_spoken_of_with_the_next(monkeypatch):
    monkeypatch.setattr(display, "STARTING_SECONDS", 0.01)
    stream = StringIO()
    with Display(Console(file=stream, width=200)) as shown:
        shown.starting(["generator-0", "verifier-0"])
        shown.starting(["generator-0"])
        await asyncio.sleep(0.05)
        asked = [task for task in asyncio.all_tasks() if "_say_who_is_up" in repr(task)]
    assert len(asked) == 1
    assert all("of 1 replica " in line for line in stream.getvalue().splitlines() if " up, " in line)
