"""The numbers behind the figures: in a table on the page, and as CSV."""

from __future__ import annotations

import base64
import csv
import io
import re

import pytest

from orchestrator.report.drawing import Numbers, as_csv
from orchestrator.report.page import page
from orchestrator.report.text import name


def test_every_figure_has_its_numbers_with_a_name_for_each_column(drawn):
    for each in drawn.values():
        numbers = each.drawing.numbers
        assert numbers.rows, each.name
        assert all(len(row) == len(numbers.columns) for row in numbers.rows), each.name


def test_the_numbers_of_a_figure_are_those_that_it_draws(evidence, drawn):
    numbers = drawn["accuracy"].drawing.numbers
    assert numbers.columns == ["point", "FLOPs a problem", "accuracy, %", "low", "high"]
    rows = {row[0]: row[1:] for row in numbers.rows}
    for option in evidence.main.named("dvts"):
        found = option.accuracy("weighted")
        shares = [100 * share for share in (found.value, found.low, found.high)]
        assert rows[name(option)] == pytest.approx([option.flops, *shares])
    assert rows["one sample"][1] < min(row[1] for what, row in rows.items() if what != "one sample")


def test_the_csv_on_the_page_has_the_numbers_of_the_figure(evidence, rendered):
    html = page(evidence, rendered, [])
    files = dict(re.findall(r'download="([^"]*)" href="data:text/csv;charset=utf-8;base64,([^"]*)"', html))
    for each in rendered:
        text = base64.b64decode(files[f"{each.name}.csv"]).decode()
        head, *rows = csv.reader(io.StringIO(text))
        assert head == list(each.numbers.columns)
        assert len(rows) == len(each.numbers.rows)
    text = base64.b64decode(files["table-accuracy.csv"]).decode()
    assert text.startswith("strategy,all,FLOPs charged,")


def test_a_csv_keeps_six_digits_and_runs_no_formula():
    rows = [["=HYPERLINK(1)", 1 / 3, None], ['a,"b"', 123456789.0, -1.0], ["-", 0.0, 1e-9]]
    text = as_csv(["what", "x", "y"], rows)
    assert text.splitlines()[1:] == ["'=HYPERLINK(1),0.333333,", '"a,""b""",1.23457e+08,-1', "-,0,1e-09"]
    text = as_csv(["=NOW()"], [["-2+cmd|' /C calc'!A0"], ["-1.5 [-2.0, -1.0]"], ["a-b"]])
    assert text.splitlines() == ["'=NOW()", "'-2+cmd|' /C calc'!A0", '"-1.5 [-2.0, -1.0]"', "a-b"]
    assert Numbers(["what", "x", "y"], rows).shown()[1] == ['a,"b"', "1.235e+08", "-1"]
