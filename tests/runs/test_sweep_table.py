"""A sweep's table in Markdown, and its figure, of labels as users' strategies have them."""

from __future__ import annotations

import pytest

from orchestrator.runs.sweep_table import Share, SweepRow, figure, markdown


def row(label: str, flops: float = 1e9, mean: float = 0.5) -> SweepRow:
    share = Share(mean, None, (0.4, 0.6))
    return SweepRow(label, 4, "generations", (0,), {"majority": share}, share, flops, {"failed": 0})


@pytest.mark.parametrize("label", ["own.py:f stop=a|b", "f prompt=a\nb", "f tail=\\"])
def test_a_label_stays_in_its_cell(label: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.runs.sweep_table.COUNTS", {})
    lines = markdown([row(label)]).splitlines()
    assert len(lines) == 3
    plain = lines[2].replace("\\\\", "").replace("\\|", "")
    assert plain.count("|") == lines[0].count("|")


def test_a_table_of_many_cells_ends_where_mlflow_would_cut_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.runs.sweep_table.COUNTS", {})
    text = markdown([row(f"strategy {i}") for i in range(500)])
    assert len(text) < 7200
    assert text.splitlines()[-1].startswith("| … and ")


@pytest.mark.filterwarnings("error:constrained_layout")
def test_the_figure_shows_any_label_and_no_cell_that_spent_nothing():
    labels = [r"f prompt=$\frac{$", "f " + "w" * 5000, "f a\nb", "|<&"]
    rows = [row(label, flops) for label in labels for flops in (1e9, 2e9)]
    assert figure([*rows, row("other", 0.0, 0.0)]).startswith("<?xml")
    assert figure([row("other", 0.0, 0.0)]).startswith("<?xml")
