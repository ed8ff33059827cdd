"""One table in every format gives the same problems; a file that is not what it says is refused."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.problems.file import read, read_lines
from orchestrator.problems.problem import Wanted

ROWS = [
    {"problem": "1+1?", "answer": 2, "level": 1, "subject": "Algebra"},
    {"problem": 'a, "b"\nc\u2028d;é', "answer": 3, "level": 5, "subject": "Über"},
]


def as_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows, separator=","):
    file = io.StringIO()
    table = csv.DictWriter(file, list(rows[0]), delimiter=separator)
    table.writeheader()
    table.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


FORMATS = {
    ".jsonl": as_jsonl,
    ".json": lambda rows: json.dumps(rows, indent=1).encode(),
    ".csv": as_csv,
    ".tsv": lambda rows: as_csv(rows, "\t"),
    ".parquet": as_parquet,
}


def problems(path, data, **wanted):
    path.write_bytes(data)
    return read(Wanted(str(path), **wanted))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_format(tmp_path, suffix, compressed):
    data = FORMATS[suffix](ROWS)
    name = f"set.v1{suffix}.gz" if compressed else f"set.v1{suffix}"
    found = problems(tmp_path / name, gzip.compress(data) if compressed else data)
    assert [(p.id, p.prompt, p.answer, p.difficulty) for p in found] == [
        ("set.v1-00000", ROWS[0]["problem"], "2", 1.0),
        ("set.v1-00001", ROWS[1]["problem"], "3", 5.0),
    ]
    assert dict(found[1].attributes) == {"level": 5, "subject": "Über"}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_a_byte_order_mark_and_windows_lines(tmp_path, suffix):
    data = FORMATS[suffix](ROWS[:1]).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert problems(tmp_path / f"s{suffix}", b"\xef\xbb\xbf" + data)[0].prompt == "1+1?"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda text: text.strip().lower() not in ("", "nan")  # so tables write an empty cell
)
ANSWERS = st.one_of(
    st.just(TEXT),
    st.just(st.integers(-(2**60), 2**60)),
    st.just(st.floats(allow_nan=False, allow_infinity=False)),
)


@st.composite
def tables(draw):
    answers = draw(ANSWERS)
    # A whole float is a whole number; a CSV file has it as the text that it is.
    answers = answers.filter(lambda value: not (isinstance(value, float) and value.is_integer()))
    row = st.fixed_dictionaries(
        {
            "question": TEXT,
            "answer": answers,
            "Level": st.integers(-9, 9),
            "subject": TEXT,
            "share": st.floats(allow_nan=False, allow_infinity=False),
        }
    )
    drawn = draw(st.lists(row, min_size=1, max_size=5))
    return [dict(sorted(each.items())) for each in drawn]  # a table has one order of columns


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(tables())
def test_any_table_is_the_same_problems_in_every_format(tmp_path, rows):
    expected = problems(tmp_path / "t.jsonl", as_jsonl(rows))
    assert [problem.prompt for problem in expected] == [row["question"] for row in rows]
    for suffix, written in FORMATS.items():
        assert problems(tmp_path / f"t{suffix}", written(rows)) == expected
        assert problems(tmp_path / f"t{suffix}.gz", gzip.compress(written(rows), 1)) == expected


def test_json_may_hold_the_table_inside_an_object_or_be_lines(tmp_path):
    nested = {"version": 2, "tags": ["a"], "data": ROWS}
    assert len(problems(tmp_path / "a.json", json.dumps(nested).encode())) == 2
    assert len(problems(tmp_path / "b.json", as_jsonl(ROWS))) == 2
    assert len(problems(tmp_path / "c.json", json.dumps(ROWS[0]).encode())) == 1


def test_a_name_without_a_known_suffix_is_read_by_content(tmp_path):
    for suffix in (".jsonl", ".json", ".parquet"):
        assert len(problems(tmp_path / "set.txt", FORMATS[suffix](ROWS))) == 2


def test_a_csv_file_of_semicolons_and_of_long_cells(tmp_path):
    assert problems(tmp_path / "a.csv", as_csv(ROWS, ";"))[1].answer == "3"
    long = "x" * 200_000
    assert problems(tmp_path / "b.csv", as_csv([{"problem": long, "answer": 1}]))[0].prompt == long


def test_no_more_is_read_than_is_asked_for(tmp_path):
    lines = as_jsonl(ROWS) + b"{broken\n"
    assert len(problems(tmp_path / "a.jsonl", lines, limit=2)) == 2
    assert len(problems(tmp_path / "a.csv", as_csv(ROWS) + b"one cell\n", limit=2)) == 2
    with pytest.raises(BadInput, match=r"a\.jsonl:3: '\{broken' is not usable; the line is not JSON"):
        problems(tmp_path / "a.jsonl", lines)


def test_files_of_the_time_of_json_lines_keep_their_ids(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_bytes(as_jsonl([{"unique_id": "u", "ID": 3, "problem": "?", "answer": "1"}]))
    assert [p.id for p in read_lines(Wanted(str(path)))] == ["old-00000"]
    assert [p.id for p in read(Wanted(str(path)))] == ["3"]
    path.write_bytes(as_jsonl([{"id": 7, "problem": "?", "answer": "1"}]))
    assert [p.id for p in read_lines(Wanted(str(path)))] == ["7"]


REFUSED = [
    ("a.parquet", as_jsonl(ROWS), "it is no Parquet file, but its name ends in .parquet"),
    ("a.jsonl", as_parquet(ROWS), "it is a Parquet file, but its name ends in .jsonl"),
    ("a.parquet", as_parquet(ROWS)[:-30] + b"PAR1", "it is no whole Parquet file"),
    ("a.jsonl.gz", as_jsonl(ROWS), "it is not compressed by gzip, but its name says .gz"),
    ("a.jsonl", gzip.compress(as_jsonl(ROWS)), "it is compressed by gzip, but its name lacks .gz"),
    ("a.jsonl.gz", gzip.compress(as_jsonl(ROWS))[:60], "it cannot be read (EOFError"),
    ("a.jsonl", "é".encode("latin-1"), "the file is not UTF-8 text"),
    ("a.csv", as_csv(ROWS).decode().encode("utf-16"), "the file is not UTF-8 text"),
    ("a.jsonl", json.dumps(ROWS).encode(), "a JSON array belongs in a file .json"),
    ("a.csv", as_jsonl(ROWS), "it is JSON, but its name ends in .csv"),
    ("a.json", b"[1, 2", "it is not JSON"),
    ("a.json", b"3", "allowed: a JSON array of objects"),
    ("a.json", b"[3]", "row 1: '3' is not usable; allowed: a JSON object"),
    ("a.csv", b"problem,answer\n1,2,3\n", "a.csv:2: '3 cells' is not usable; needed: 2"),
    ("a.csv", b'problem,answer\n"1"x,2\n', "a.csv:2: "),
    ("a.csv", b"problem,answer\n", "it holds no problem"),
    ("a.csv", b"", "it holds no problem"),
    ("a.csv", b"problem,answer,answer\n1,2,3\n", "a.csv:1: 'answer' is not usable; two columns have"),
    ("a.txt", b"hello", "allowed: a name that ends in .jsonl, "),
    ("a.jsonl", b'{"problem": ' + b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("name", "data", "said"), REFUSED, ids=range(len(REFUSED)))
def test_a_file_that_is_not_what_it_says(tmp_path, name, data, said):
    with pytest.raises(BadInput) as error:
        problems(tmp_path / name, data)
    assert said in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="allowed: an existing file"):
        read(Wanted(str(tmp_path / "no.csv")))
    for other in (str(tmp_path), "HuggingFaceH4/MATH-500"):
        with pytest.raises(BadInput, match=r"or a directory, is of problems\.source=datasets"):
            read(Wanted(other))


def test_a_comma_is_the_decimal_point_where_semicolons_separate_cells(tmp_path):
    numbers = ["3,5", "-0,25", "1.234,5", "1.234", "7", '"(1,2)"', '"1, 2"', "3,5 m"]
    rows = "".join(f"what?;{number}\n" for number in numbers)
    found = problems(tmp_path / "a.csv", f"problem;answer\n{rows}".encode())
    assert [problem.answer for problem in found] == [
        *("3.5", "-0.25", "1234.5", "1.234", "7", "(1,2)", "1, 2", "3,5 m")
    ]
    assert problems(tmp_path / "b.csv", b'problem,answer\nwhat?,"3,5"\n')[0].answer == "3,5"


def test_a_date_that_python_cannot_hold_is_told_with_the_files_name(tmp_path):
    late = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"problem": ["q"], "answer": ["a"], "day": late}), tmp_path / "late.parquet")
    with pytest.raises(BadInput, match=r"late\.parquet' is not usable; allowed: values that Python can hold"):
        read(Wanted(str(tmp_path / "late.parquet")))
