"""The page of a run that goes on, in Chromium: it grows, keeps what one does with it, and becomes the
finished page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.explore import server
from orchestrator.explore.page import write
from orchestrator.explore.server import Begun
from orchestrator.problems.problem import Problem
from orchestrator.runs.times import TimesFile
from tests.explore.test_live import serving
from tests.support.browser import CHROMIUM, Watched, browsed
from tests.support.explored import reader
from tests.support.going_on import BUDGET, GoingOn
from tests.support.scripted import EOS

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")

HOSTILE = "</script><img src=x onerror=alert(1)>\v"
PROBLEMS = [Problem(f"p{i}<b>", f"{HOSTILE}{i}?", f"a{HOSTILE}{EOS}", float(i)) for i in range(6)]


def hostile(request, text, rng) -> str:
    """Two steps, each a letter and what a page must not execute."""
    done = text.rpartition("?")[2].count("\n")
    return f"{rng.choice('ab')}<i>\n" if done == 0 else f"{rng.choice('ab')}{EOS}"


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with browsed() as page:
        yield page


def test_it_grows_while_it_is_read_and_becomes_the_finished_page(
    watched: Watched, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.05)
    page = watched.page
    with (
        GoingOn(tmp_path / "run", PROBLEMS, hostile).running() as run,
        serving(tmp_path, live_of(tmp_path)) as (made, port),
    ):
        run.let(6)
        made.feed.begin(Begun("run", BUDGET, 1.0))
        watched.go(f"http://127.0.0.1:{port}/")
        assert page.locator(".rows li").count() == 2
        assert page.locator(".tree .node").count() > 0
        assert "no search of 6 problems has ended" in page.locator("#overview").text_content()
        first = operations(page)
        grow(run, page, first)

        # What one does with it stays as it is.
        page.click(".rows li:nth-child(2) a")
        assert not page.locator("#follow").is_checked()
        page.click(".rows li:nth-child(2) a")
        page.locator(".tree .node").first.click()
        picked = page.locator(".tree .picked").get_attribute("data-path")
        page.fill("#filter", "p")
        page.focus("#filter")
        seen = operations(page)
        second = watched.page.context.new_page()  # another tab
        second.goto(f"http://localhost:{port}/#problem=p0<b>")
        second.wait_for_selector("html[data-opened]", state="attached")
        grow(run, page, seen)
        assert page.locator(".tree .picked").get_attribute("data-path") == picked
        assert page.evaluate("document.activeElement.id") == "filter"
        assert page.locator(".own .prose").text_content().endswith("<i>\n")

        # What it waited for, of what has ended; it stays unfolded.
        assert page.locator(".over-time").count() == 0
        times = TimesFile(tmp_path / "run")
        times.add("p0<b>", {"p0<b>/sample/0": (5.0, 6.0)})
        until(page, lambda: page.locator(".over-time").count() == 1)
        page.click(".over-time summary")
        assert page.locator("svg.work path.op").count() == 1
        assert "searches that have ended" in page.locator(".over-time").text_content()
        times.add("p1<b>", {"p1<b>/sample/0": (5.0, 6.0), "p1<b>/score/0": (6.0, 7.0)})
        until(page, lambda: page.locator("svg.work path.op").count() == 2)
        assert page.locator("svg.work").is_visible()

        run.let(float("inf"))
        until(page, lambda: "of 6 problems right" in page.locator("#overview").text_content())
        assert page.locator(".rows .right, .rows .wrong").count() == 6
        with reader(tmp_path / "run") as whole:
            write([whole], tmp_path / "run" / "explore.html")
        at = page.evaluate("location.hash")
        made.feed.end("finished")
        page.wait_for_selector("html[data-opened]:not([data-live])", state="attached")
        assert page.evaluate("location.hash") == at
        assert page.locator(".tree .picked").get_attribute("data-path") == picked
        second.close()
    assert page.locator(".over-time tbody tr").count() == 4
    assert "searches that have ended" not in page.locator(".over-time").text_content()
    page.click("[data-tab=why]")  # the server is gone, the page is whole
    page.wait_for_selector(".ballots")
    page.click(".rows li:first-child a")
    page.wait_for_selector("#problem[data-ready^='0 p0<b> ']")
    page.click("[data-tab=money]")
    assert page.locator(".bins tbody tr").count() == 5, "six problems, each of its own difficulty, in fifths"
    assert page.locator("img").count() == 0
    assert watched.faults == []
    assert {path.partition("?")[0] for path in watched.requests} <= {
        f"http://127.0.0.1:{port}/{name}" for name in ("", "events", "tree")
    }


def operations(page) -> int:
    """Returns how many operations of the search that is looked at are on the page."""
    return int(page.locator(".player input").get_attribute("max"))


def grow(run: GoingOn, page, seen: int) -> None:
    """Lets the run go on until the search that is looked at has more operations than were ``seen``."""

    def grown() -> bool:
        run.let(1)
        return operations(page) > seen

    until(page, grown)


def until(page, true) -> None:
    """Waits; the page's policy lets no text become a script, by which Playwright would wait."""
    for _ in range(500):
        if true():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it does not come true")


def test_engines_that_start_are_shown_and_counts_agree(watched: Watched, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.05)
    watched.faults.clear()
    page = watched.page
    with (
        GoingOn(tmp_path / "run", PROBLEMS).running() as run,
        serving(tmp_path, live_of(tmp_path)) as (
            made,
            port,
        ),
    ):
        made.feed.starting(["1 of 3 replicas up, 12 s", "generator-1 (load, 7 s)"])
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#problem .start")
        made.feed.begin(Begun("run", BUDGET, 1.0))
        page.wait_for_selector("html[data-opened]", state="attached")
        assert "Engines start: 1 of 3 replicas up" in page.locator("#overview").text_content()
        assert "no search of 6 problems has ended" in page.locator("#overview").text_content()
        assert page.locator("#list [role=status]").text_content() == "0 of 6 problems have begun"
        made.feed.starting([])
        until(page, lambda: page.locator("#overview .start").count() == 0)
        until(page, lambda: run.let(1) or "1 of 6 have ended" in page.locator("#overview").text_content())
        begun, told = page.locator("#list").evaluate(
            "one => [one.querySelectorAll('.rows a').length, one.querySelector('[role=status]').textContent]"
        )
        assert begun > 1
        assert told == f"{begun} of 6 problems have begun"
        names = page.locator(".rows a").evaluate_all("links => links.map(one => one.dataset.problem)")
        page.select_option("#list select >> nth=1", "order")
        shown = page.locator(".rows a").evaluate_all("links => links.map(one => one.dataset.problem)")
        assert names == sorted(names, reverse=True), "the newest is the first"
        assert shown == sorted(shown), "as in the set"
        assert {*names} <= {*shown}, "more may have begun meanwhile"
        run.let(float("inf"))
    assert watched.faults == []


def test_on_a_phone_the_search_at_work_opens_and_back_leads_to_the_list(
    watched: Watched, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.05)
    with (
        watched.page.context.browser.new_page(viewport={"width": 400, "height": 900}) as opened,
        GoingOn(tmp_path / "run", PROBLEMS).running() as run,
        serving(tmp_path, live_of(tmp_path)) as (made, port),
    ):
        phone = Watched(opened)
        page, shown = phone.page, phone.page.locator("#problem")
        run.let(6)
        made.feed.begin(Begun("run", BUDGET, 1.0))
        phone.go(f"http://127.0.0.1:{port}/")
        assert not shown.is_visible()
        assert not page.locator("#follow").is_checked(), "it is not shown"
        page.click("#follow")
        assert shown.is_visible()
        until(page, lambda: 0 <= shown.bounding_box()["y"] < 450)
        page.go_back()
        until(page, lambda: not shown.is_visible())
        assert not page.locator("#follow").is_checked()
        page.click(".rows li:nth-child(2) a")
        until(page, shown.is_visible)
        page.click(".back")
        until(page, lambda: not shown.is_visible())
        page.click(".rows li:nth-child(1) a")
        until(page, shown.is_visible)
        page.reload()
        page.wait_for_selector("html[data-opened]", state="attached")
        assert shown.is_visible()
        page.go_back()
        until(page, lambda: not shown.is_visible())
        page.reload()
        page.wait_for_selector("html[data-opened]", state="attached")
        assert not shown.is_visible()
        run.let(float("inf"))
        assert phone.faults == []


def live_of(runs: Path):
    from orchestrator.explore.live import LiveRun
    from tests.explore.test_live import CONFIG
    from tests.support.scripted import CODEC

    return lambda begun: LiveRun(
        runs / begun.run, CONFIG, CODEC, PROBLEMS, budget=begun.budget, begun=begun.at
    )


def test_the_page_of_a_sweep_follows_its_cells_and_shows_the_one_that_is_asked_for(
    watched: Watched, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.05)
    watched.faults.clear()
    page = watched.page
    cells = tmp_path / "s" / "cells"
    with (
        GoingOn(cells / "a", PROBLEMS[:2]).running() as first,
        GoingOn(cells / "b", PROBLEMS[2:]).running() as second,
        serving(tmp_path, live_of(tmp_path)) as (made, port),
    ):
        first.let(6)
        made.feed.begin(Begun("s/cells/a", BUDGET, 1.0))
        watched.go(f"http://127.0.0.1:{port}/")
        assert page.locator(".rows li").count() == 2
        first.let(float("inf"))
        second.let(6)
        made.feed.begin(Begun("s/cells/b", BUDGET, 2.0))
        until(page, lambda: page.locator("#overview b").text_content() == "s/cells/b")
        assert page.locator(".title select >> nth=0").locator("option").all_text_contents() == [
            *("the one at work", "s/cells/a", "s/cells/b")
        ]
        until(page, lambda: page.locator(".rows a").last.get_attribute("data-problem") == "p2<b>")
        page.select_option(".title select >> nth=0", "s/cells/a")
        until(page, lambda: page.locator("#overview b").text_content() == "s/cells/a")
        until(page, lambda: page.locator(".rows a").last.get_attribute("data-problem") == "p0<b>")
        until(page, lambda: page.locator(".rows .right, .rows .wrong").count() == 2)
    assert watched.faults == []


def test_a_run_that_is_gone_leaves_what_it_had_found(watched: Watched, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(server, "PERIOD_SECONDS", 0.05)
    watched.faults.clear()
    with GoingOn(tmp_path / "run", PROBLEMS).running() as run:
        with serving(tmp_path, live_of(tmp_path)) as (made, port):
            run.let(3)
            made.feed.begin(Begun("run", BUDGET, 1.0))
            watched.go(f"http://127.0.0.1:{port}/")
            assert watched.page.locator("#overview .pulse").count() == 1
        watched.page.wait_for_selector("#overview .warning")
    assert "The run has ended, or was cut short" in watched.page.locator("#overview").text_content()
    assert watched.page.locator(".tree .node").count() > 0
    assert watched.faults == []
