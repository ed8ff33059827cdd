"""The report in Chromium: it opens, asks for nothing, leads to its parts, its numbers and the searches."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.commands.report import run_report
from orchestrator.explore.page import write
from tests.support.browser import CHROMIUM, Watched, browsed
from tests.support.explored import reader, searched

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the runs ``beam``, which has an explorer's page, and ``best``, which has none."""
    from rich.console import Console

    root = tmp_path_factory.mktemp("reported")
    runs = root / "runs"
    asked = {"beam": {"name": "beam_search", "n": 8, "width": 2}, "best": {"name": "best_of_n", "n": 2}}

    async def search() -> None:
        for name, strategy in asked.items():
            how = {key: value for key, value in strategy.items() if key != "name"}
            await searched(runs / name, strategy["name"], **how)
            config = {"strategy": strategy, "generator": {"model": "scripted"}, "seed": 0}
            (runs / name / "config.yaml").write_text(yaml.safe_dump(config))

    asyncio.run(search())
    with reader(runs / "beam") as run:
        write([run], runs / "beam" / "explore.html")
    assert run_report(f"{runs}/", root / "report.html", Console(quiet=True)) == 0
    return root / "report.html"


@pytest.fixture(params=[400, 1280], scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A browser of two widths."""
    with browsed(request.param, 800, accept_downloads=True) as watched:
        yield watched


@pytest.fixture
def opened(report: Path, browser: Watched) -> Iterator[Watched]:
    """The report; no test may leave an error or a request behind."""
    browser.visit(report)
    yield browser
    assert browser.faults == []
    assert [url for url in browser.requests if not url.startswith("data:")] == []


def test_each_line_of_the_contents_leads_to_its_part(opened):
    page = opened.page
    links = page.locator("nav a")
    assert links.count() >= 8
    for link in links.all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert target.count() == 1
        top = target.bounding_box()["y"]
        assert -1 <= top < 800, link.inner_text()


def test_nothing_is_wider_than_the_screen_and_no_label_is_cut(opened):
    page = opened.page
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    figures = page.locator("figure svg")
    assert figures.count() >= 4
    for figure in figures.all():
        box = figure.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        outside = figure.evaluate(
            """svg => { const all = svg.viewBox.baseVal;
                return [...svg.querySelectorAll('use')].filter(each => {
                    const at = each.getBoundingClientRect(), in_ = svg.getBoundingClientRect();
                    return at.left < in_.left - 1 || at.right > in_.right + 1
                        || at.top < in_.top - 1 || at.bottom > in_.bottom + 1; }).length; }"""
        )
        assert outside == 0
    caption = page.locator("figcaption").first
    assert caption.inner_text().startswith("Figure 1. What the search buys.")


def test_a_figures_numbers_open_and_are_those_of_its_file(opened, tmp_path):
    page = opened.page
    numbers = page.locator("#accuracy + details")
    assert not numbers.locator("table").is_visible()
    numbers.locator("summary").click(position={"x": 5, "y": 8})
    assert numbers.locator("table").is_visible()
    with page.expect_download() as told:
        numbers.get_by_role("link", name="CSV").click()
    assert told.value.suggested_filename == "accuracy.csv"
    told.value.save_as(tmp_path / "accuracy.csv")
    head, *rows = csv.reader((tmp_path / "accuracy.csv").read_text().splitlines())
    assert head == numbers.locator("th").all_inner_texts()
    assert [row[0] for row in rows] == numbers.locator("tbody tr td:first-child").all_inner_texts()
    assert {"one sample", "best_of_n n=2", "beam_search n=8"} == {row[0] for row in rows}


def test_a_point_leads_to_its_searches_or_says_how_to_see_them(opened):
    page = opened.page
    points = {
        point.locator("title").text_content().partition(":")[0]: point
        for point in page.locator("#accuracy a.point").all()
    }
    assert set(points) == {"best_of_n n=2", "beam_search n=8"}
    points["best_of_n n=2"].click()
    row = page.locator("tr:target")
    assert "ttc explore best --runs " in row.inner_text()
    assert 0 <= row.bounding_box()["y"] < 800
    opened._own = (Path(page.url.removeprefix("file://")).parent / "runs/beam/explore.html").as_uri()
    points["beam_search n=8"].click()
    page.wait_for_selector("html[data-opened]", state="attached")
    assert page.url.partition("#")[0].endswith("/runs/beam/explore.html")
    assert page.title()
