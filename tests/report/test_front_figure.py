"""The README's figure is drawn from the table that is kept, and its number is the table's."""

from __future__ import annotations

import re

import pytest

from orchestrator.report.front_figure import CURVES, StoredCell, draw, points, read, saving, write
from tests.support.paths import CONFIGS, ROOT

TABLE = CONFIGS / "figure" / "accuracy.csv"


def test_the_figure_has_every_curve_of_the_kept_table():
    rows = read(TABLE)
    assert {row.curve for row in rows} == set(CURVES)
    assert {len(row.correct) for row in rows} == {500}
    picture = draw(rows)
    assert picture.startswith("<?xml")
    assert picture.count("PolyCollection") >= 3, "a band for each curve that is one"


def test_the_readmes_share_is_what_the_table_gives():
    (share,) = re.findall(r"with (\d+) % of its FLOPs", (ROOT / "README.md").read_text())
    assert round(100 * saving(read(TABLE), "adaptive allocation")[1]) == int(share)


def test_a_problem_counts_with_its_mean_over_seeds_and_a_table_is_read_as_written(tmp_path):
    rows = [
        StoredCell("best-of-N", "1", 0, 10.0, "1100"),
        StoredCell("best-of-N", "1", 1, 30.0, "1000"),
        StoredCell("adaptive allocation", "1", 0, 5.0, "0000"),
        StoredCell("adaptive allocation", "2", 0, 20.0, "1110"),
    ]
    (point,) = points(rows, "best-of-N")
    assert (point.flops, point.accuracy.value) == (20.0, 0.375)
    assert point.accuracy.low < 0.375 < point.accuracy.high
    assert saving(rows, "adaptive allocation") == (0.375, pytest.approx(0.5)), "half-way in log FLOPs"
    assert saving(rows, "beam search")[1] == float("inf")
    write(rows, tmp_path / "t.csv")
    assert sorted(map(repr, read(tmp_path / "t.csv"))) == sorted(map(repr, rows))
