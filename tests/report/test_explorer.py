"""The way from a point of a report to the searches of its runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.report.explorer import Explorer, explorer_of, place
from orchestrator.report.page import page
from orchestrator.report.text import name
from tests.support.stored import cell


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a cell of a sweep, with its journal."""
    directory = tmp_path / "my runs" / "sweep" / "cells" / "a&b"
    directory.mkdir(parents=True)
    (directory / "journal.sqlite").touch()
    return directory


def cell_of(directory: Path, run_id: str):
    return replace(cell([1, 0]), run_id=run_id, results=directory / "results.parquet")


def test_a_run_without_a_page_has_the_command_that_makes_it(run, tmp_path, monkeypatch):
    found = explorer_of(cell_of(run, "sweep/cells/a&b"), tmp_path / "report.html")
    assert found == Explorer("sweep/cells/a&b", f"ttc explore 'sweep/cells/a&b' --runs '{tmp_path}/my runs'")
    monkeypatch.chdir(tmp_path)
    assert explorer_of(cell_of(run, "sweep/cells/a&b")).command.endswith("--runs 'my runs'")
    (tmp_path / "my runs").rename(tmp_path / "runs")
    moved = tmp_path / "runs" / "sweep" / "cells" / "a&b"
    assert explorer_of(cell_of(moved, "sweep/cells/a&b")).command == "ttc explore 'sweep/cells/a&b'"


def test_a_run_with_a_page_has_the_way_from_the_report_to_it(run, tmp_path):
    (run / "explore.html").touch()
    found = explorer_of(cell_of(run, "sweep/cells/a&b"), tmp_path / "out" / "report.html")
    assert found.address == "../my%20runs/sweep/cells/a%26b/explore.html"
    assert explorer_of(cell_of(run, "sweep/cells/a&b")).address is None, "the report will lie elsewhere"


def test_a_directory_that_was_renamed_is_found_by_its_new_name(run):
    assert place(run, "sweep/cells/a&b") == (run.parents[2], "sweep/cells/a&b")
    assert place(run, "sweep/cells/of-old") == (run.parent, "a&b")


def test_a_run_of_another_machine_has_no_command(tmp_path):
    assert explorer_of(cell_of(tmp_path, "r"), tmp_path) == Explorer("r", "")
    assert explorer_of(replace(cell([1]), run_id="r")) == Explorer("r", "")


def test_points_of_figures_and_rows_of_tables_lead_to_the_runs(evidence, rendered):
    html = page(evidence, rendered, [])
    option = evidence.main.by_n("beam_search", width=4)[16]
    key = evidence.key_of(option)
    assert f'id="{key}"' in html
    accuracy = html.partition('<figure id="accuracy">')[2].partition("</figure>")[0]
    assert f'<a class="point" href="#{key}"><title>{name(option)}: ' in accuracy
    table = html.partition('id="table-accuracy"')[2].partition("</table>")[0]
    assert f'<a href="#{key}" title="{name(option)}: ' in table
