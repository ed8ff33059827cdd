"""A run that goes on is followed from its rows, and ends as ``ttc explore`` shows it; its server tells
browsers of this machine of it, and nobody else."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from msgspec.structs import replace

from actors.messages import SampleResult
from orchestrator.durability.journal import Journal, JournalDamaged
from orchestrator.explore import server
from orchestrator.explore.live import LiveRun, News
from orchestrator.explore.server import Begun, Feed, LiveServer
from orchestrator.explore.times import by_problem
from orchestrator.runs.results_file import ResultsFile
from orchestrator.runs.times import TimesFile
from tests.support.explored import PROBLEMS, reader, searched
from tests.support.going_on import BUDGET, GoingOn
from tests.support.scripted import CODEC

CONFIG = {"strategy": {"name": "beam_search", "n": 4}, "generator": {"model": "scripted"}, "seed": 0}


def live(directory: Path, **known) -> LiveRun:
    return LiveRun(directory, CONFIG, CODEC, PROBLEMS, budget=BUDGET, **known)


def test_it_grows_with_the_run_and_ends_as_the_finished_page_has_it(tmp_path: Path):
    directory = tmp_path / "run"
    with GoingOn(directory, PROBLEMS).running() as run:
        run.let(5)
        followed = live(directory)
        assert followed.refresh()
        first = followed.since(0)
        assert sum(row.nodes for _, row in first.rows) == 5
        assert not any(row.ended for _, row in first.rows)
        assert not followed.refresh(), "nothing has happened"
        run.let(3)
        assert followed.refresh()
        second = followed.since(first.version)
        assert second.version > first.version
        assert second.head.spent > first.head.spent
        assert second.rows
        (_, row), *_ = second.rows
        assert len(followed.tree(row.problem).nodes) == row.nodes
        run.let(float("inf"))
    assert followed.refresh()
    rows = dict(followed.since(0).rows)
    with reader(directory, problems=PROBLEMS) as whole:
        trees = [*whole.trees()]
        explored = whole.explored()
    known = {row.problem: row for row in rows.values()}
    assert [known[row.problem] for row in explored.rows] == [*explored.rows]
    assert followed.since(0).head.costs == explored.costs
    assert followed.since(0).head.replicas == explored.replicas
    assert [followed.tree(tree.problem) for tree in trees] == trees
    assert followed.tree("none") is None


async def test_what_a_leg_before_has_left_is_not_this_legs_result(tmp_path: Path):
    await searched(tmp_path / "run", "beam_search", n=4, width=2)
    resumed = live(tmp_path / "run", begun=time.time() + 10)
    resumed.refresh()
    assert not any(row.ended for _, row in resumed.since(0).rows)
    finished = live(tmp_path / "run")
    finished.refresh()
    assert all(row.ended for _, row in finished.since(0).rows)


async def test_results_that_are_written_again_are_read_again(tmp_path: Path):
    directory = tmp_path / "run"
    with GoingOn(directory, PROBLEMS).running() as run:
        run.let(float("inf"))
    await searched(tmp_path / "other", "beam_search", n=4, width=2)
    followed = live(directory, begun=time.time() + 10)
    followed.refresh()
    lines = directory / "results.jsonl"
    row = {"problem": "p", "prompt": "1+1?", "answer": "x", "generator_flops": 1, "verifier_flops": 1}
    one = {**row, "selected_best": "a", "correct_best": False, "flops": 2, "solutions": []}
    lines.write_text(json.dumps(one) + "\n" + json.dumps(one)[:20])
    assert followed.refresh()
    assert [row.correct for _, row in followed.since(0).rows if row.ended] == [(False,)]
    shutil.copy(lines, lines.with_suffix(".new"))
    lines.with_suffix(".new").write_text(json.dumps({**one, "correct_best": True}) + "\n" + " " * 900)
    lines.with_suffix(".new").replace(lines)
    assert followed.refresh()
    assert [row.correct for _, row in followed.since(0).rows if row.ended] == [(True,)]


async def test_a_line_that_is_damaged_costs_only_itself_and_is_told_of(tmp_path: Path):
    results = await searched(tmp_path / "run", "beam_search", n=4, width=2)
    file = ResultsFile(tmp_path / "run")
    followed = live(tmp_path / "run", begun=time.time() + 10)
    followed.refresh()
    assert followed.since(0).head.notes == ()
    with (tmp_path / "run" / "results.jsonl").open("ab") as lines:
        lines.write(b'{"problem": "p", "flo\n{"problem": "q/1", "flops": "many"}\n{"problem": "p"')
    assert followed.refresh()
    told = "2 lines of results.jsonl cannot be read: "
    assert [note.startswith(told) for note in followed.since(0).head.notes] == [True]
    assert not any(row.ended for _, row in followed.since(0).rows)
    assert not followed.refresh(), "it is told once, and the line without an end is waited for"
    with (tmp_path / "run" / "results.jsonl").open("ab") as lines:
        lines.write(b"\n")
    file.add(results[1])
    assert followed.refresh()
    assert [row.problem for _, row in followed.since(0).rows if row.ended] == ["q/1"]
    assert followed.since(0).head.notes[0].startswith("3 lines")


async def test_times_are_read_once_however_often_a_search_is_looked_at(tmp_path: Path, monkeypatch):
    await searched(tmp_path / "run", "beam_search", n=4, width=2)
    followed = live(tmp_path / "run")
    followed.refresh()
    times, lines = TimesFile(tmp_path / "run"), []
    monkeypatch.setattr(
        "orchestrator.explore.live.by_problem", lambda new: lines.append(len(new)) or by_problem(new)
    )
    times.add("p", {"p/sample/0": (5.0, 5.25)})
    assert [event.lasted for event in followed.tree("p").events if event.lasted is not None] == [250]
    followed.tree("q/1"), followed.tree("q/1")
    times.add("q/1", {"q/1/sample/0": (6.0, 7.0)})
    assert [event.lasted for event in followed.tree("q/1").events if event.lasted is not None] == [1000]
    assert lines == [1, 0, 0, 1]
    assert followed.refresh(), "what a look has read is news to the chart all the same"
    assert not followed.refresh()


def test_a_search_is_shown_as_it_was_when_its_row_was(tmp_path: Path):
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run:
        run.let(6)
        followed = live(tmp_path / "run")
        followed.refresh()
        run.let(5)
        for _, row in followed.since(0).rows:
            assert len(followed.tree(row.problem).nodes) == row.nodes
            assert sum(event.flops for event in followed.tree(row.problem).events) == row.flops


def test_what_is_charged_beside_the_budget_is_told_apart(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    for name, flops in (("p", 10), ("baseline/p", 200), ("judge/p", 3000)):
        journal.record(
            name, f"{name}/sample/0", SampleResult(f"{name}/sample/0", (97,), "end", 1, "g"), flops
        )
    journal.close()
    followed = live(tmp_path)
    followed.refresh()
    head = followed.since(0).head
    assert (head.spent, dict(head.beside)) == (10, {"baseline": 200, "judge": 3000})
    assert dict(reader(tmp_path).explored().beside) == {"baseline": 200, "judge": 3000}


@contextmanager
def serving(runs: Path, opened=None) -> Iterator[tuple[LiveServer, int]]:
    """Serves the runs of a directory. Yields the server and its port."""
    feed = Feed(opened or (lambda begun: live(runs / begun.run, begun=begun.at)))
    made = LiveServer(socket.create_server(("127.0.0.1", 0)), feed, runs, "explore.html")
    threads = [threading.Thread(target=work) for work in (made.serve_forever, feed.refresh_for_ever)]
    for thread in threads:
        thread.start()
    try:
        yield made, made.server_address[1]
    finally:
        feed.end(feed.over or "gone")
        made.shutdown()
        made.server_close()
        for thread in threads:
            thread.join()


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@contextmanager
def events(port: int, path: str = "/events", **headers: str) -> Iterator[Iterator[dict]]:
    """Yields what a stream of events tells, event by event."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"

        def told() -> Iterator[dict]:
            event: dict = {}
            while line := answer.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    event[name] = json.loads(value) if name == "data" else value
                elif event:
                    yield event
                    event = {}

        with closing(answer):
            yield told()


def test_readers_are_told_what_is_new_and_go_on_where_they_were(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.01)
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run, serving(tmp_path) as (made, port):
        run.let(4)
        made.feed.begin(Begun("run", BUDGET, 1.0))
        with events(port) as one, events(port) as two:
            for reading in (one, two):
                event = next(reading)
                assert event["data"]["run"] == "run"
                assert event["data"]["whole"]
                assert sum(row[11] for _, row in event["data"]["news"]["rows"]) == 4
            run.let(2)
            last = next(one)
            assert not last["data"]["whole"]
            assert next(two)["data"] == last["data"]
        status, tree = get(port, "/tree?run=run&problem=p")
        assert (status, json.loads(tree)[0]) == (200, "p")
        run.let(2)
        with events(port, Last_Event_ID=last["id"]) as again:
            assert not next(again)["data"]["whole"]
        with events(port, "/events?run=run") as reading:
            next(reading)
            run.let(float("inf"))
            made.feed.end("finished")
            assert [event["event"] for event in reading if "event" in event] == ["finished"]


def test_the_finished_page_takes_the_place_of_the_live_one(tmp_path: Path):
    with serving(tmp_path) as (made, port):
        assert "data-live" in get(port, "/")[1]
        made.feed.begin(Begun("run", None, 1.0))
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "explore.html").write_text("the page")
        with made.feed.reading(""):
            made.feed.end("finished")
        began = time.monotonic()
        made.feed.wait_for_readers(0.2)
        assert time.monotonic() - began >= 0.2, "its reader has not fetched it"
        assert get(port, "/?run=run") == (200, "the page")
        assert get(port, "/?run=../..") == (200, "the page")
        began = time.monotonic()
        made.feed.wait_for_readers(60)
        assert time.monotonic() - began < 30


def test_only_pages_of_this_server_may_read(tmp_path: Path):
    with serving(tmp_path) as (made, port):
        assert made.server_address[0] == "127.0.0.1"
        assert get(port, "/", Host=f"localhost:{port}")[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "", "127.0.0.1.evil.example", "[::1"):
            assert get(port, "/", Host=host)[0] in (400, 403), host
        for path in ("/events", "/tree?run=run&problem=p"):
            for site in ("cross-site", "same-site"):
                assert get(port, path, Sec_Fetch_Site=site)[0] == 403
        assert get(port, "/etc/passwd")[0] == 404
        assert get(port, "/events?run=none")[0] == 404
        assert get(port, "/tree?run=none&problem=p")[0] == 404


def test_a_reader_that_reads_nothing_keeps_nobody_waiting(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(server, "SLOW_SECONDS", 1.0)
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run, serving(tmp_path) as (made, port):
        run.let(4)
        made.feed.begin(Begun("run", BUDGET, 1.0))
        made.feed._runs["run"] = followed = live(tmp_path / "run")
        followed.refresh()
        since, asked = followed.since, threading.Event()

        def much(version: int) -> News:
            asked.set()
            return replace(since(version), head=replace(since(0).head, notes=("x" * 10**7,)))

        followed.since = much
        with closing(socket.create_connection(("127.0.0.1", port))) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert asked.wait(20)
            followed.since = since
            with events(port) as reading:
                next(reading)
                run.let(2)
                next(reading)
                until(lambda: made.feed._readers.total() == 1)  # the slow one was given up


def test_what_no_page_asks_is_answered_and_said_nowhere(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.01)
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run, serving(tmp_path) as (made, port):
        run.let(4)
        made.feed.begin(Begun("run", BUDGET, 1.0))
        for since in ("1.0 ", "1.0 x", "1.0 \xb2", f"1.0 {'9' * 5000}", "2.0 1", ""):
            with events(port, f"/events?{urlencode({'since': since})}") as reading:
                assert next(reading)["data"]["whole"], since
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as rough:
            rough.sendall(b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert rough.recv(100).startswith(b"HTTP/1.0 400 ")
        run.let(float("inf"))
    assert capsys.readouterr().err == ""


def test_who_has_gone_is_soon_known(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "HEARTBEAT_SECONDS", 0.05)
    with serving(tmp_path) as (made, port):
        with events(port) as _:
            until(lambda: made.feed._readers.total() == 1)
        until(lambda: made.feed._readers.total() == 0)


def test_how_far_the_start_of_the_engines_is_is_told_before_there_is_a_run(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.01)
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run, serving(tmp_path) as (made, port):
        run.let(4)
        with events(port) as reading:
            made.feed.starting(["1 of 2 replicas up, 3 s"])
            data = next(reading)["data"]
            assert data["start"] == ["1 of 2 replicas up, 3 s"]
            assert "news" not in data
            made.feed.begin(Begun("run", BUDGET, 1.0))
            rows = next(event["data"]["news"]["rows"] for event in reading if "news" in event["data"])
            assert rows
            made.feed.starting([])
            data = next(reading)["data"]
            assert data["start"] == []
            assert data["news"]["rows"] == [], "they are not sent again"
            assert not data["whole"]


def test_connections_that_ask_nothing_are_not_without_number_and_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    monkeypatch.setattr(server._Handler, "timeout", 0.3)
    with serving(tmp_path) as (_, port), ExitStack() as opened:
        idle = [
            opened.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
            for _ in range(3)
        ]
        assert idle[2].recv(1) == b"", "there is no thread left for it"
        assert idle[0].recv(1) == b"", "it has asked nothing"

        def is_served() -> bool:
            try:
                return get(port, "/")[0] == 200
            except ConnectionError:  # a place is free a moment after its connection has ended
                return False

        until(is_served)


def test_readers_are_not_without_number(tmp_path: Path, monkeypatch):
    made_places = threading.BoundedSemaphore(1)
    with serving(tmp_path) as (made, port):
        made.places = made_places
        with events(port) as _:
            assert get(port, "/")[0] == 503
        made.feed.end("gone")
        until(lambda: get(port, "/")[0] == 200)


def test_a_run_that_cannot_be_read_is_told_of_and_one_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.01)
    looks = []

    def opened(begun: Begun) -> LiveRun:
        looks.append(begun.run)
        if len(looks) < 3:
            raise JournalDamaged("not yet")
        raise ValueError("no tokenizer")

    with serving(tmp_path, opened) as (made, port), events(port) as reading:
        made.feed.begin(Begun("run", None, 1.0))
        assert next(reading)["data"]["fault"] == "ValueError: no tokenizer"
        assert len(looks) == 3
    assert "no tokenizer" in capsys.readouterr().err


def until(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
