"""Problems of a file: JSON lines, JSON, CSV, TSV or Parquet, each also as ``.gz``.

JSON lines, CSV and Parquet are read only as far as problems are asked for. A text is UTF-8, with or without a
byte order mark.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from os.path import expanduser, isdir, isfile
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.errors import BadInput, in_one_line
from orchestrator.problems.columns import Row, read_problems
from orchestrator.problems.problem import Problem, Wanted

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
LONGEST_CELL = 2**31 - 1
"""Characters of a cell of a CSV file at most; Python's own limit is 131,072."""
BATCH = 256
"""Rows of a Parquet file that are read at once."""
_DECIMAL = re.compile(r"([+-]?\d{1,3}(?:\.\d{3})+|[+-]?\d+),(\d+)")
"""A number as it is written where a semicolon separates cells: 3,5 or 1.234,5."""


def read(wanted: Wanted) -> list[Problem]:
    """Returns the problems of the file ``wanted.path``. Raises BadInput that names the file and the row."""
    file = existing(wanted.path)
    return read_problems(rows(file), wanted, stem(file))


def read_lines(wanted: Wanted) -> list[Problem]:
    """Returns the same for runs of the time when all files were JSON lines: only a column ``id`` has ids,
    so that their problems keep those that they had."""
    file = existing(wanted.path)
    return read_problems(rows(file), wanted, stem(file), only_id=True)


def existing(path: str | None) -> Path:
    """Returns the file of that name. Raises BadInput where there is none."""
    file = Path(expanduser(path or ""))
    if not isfile(file):  # of a name that is too long, Path.is_file raises
        allowed = f"allowed: an existing file ({', '.join(READERS)}, or these .gz)"
        if isdir(file) or re.fullmatch(r"[\w.-]+/[\w.-]+", path or ""):
            allowed += "; a data set of the hub, or a directory, is of problems.source=datasets"
        raise BadInput("problems.path", path, allowed)
    return file


def stem(file: Path) -> str:
    """Returns the file's name without the suffixes that say its format."""
    name = file.name.removesuffix(".gz")
    return Path(name).stem


def rows(file: Path) -> Iterator[Row]:
    """Yields the rows of a file, by its suffix, or by its content where the suffix says nothing.

    Raises BadInput that names the file, also where it is not what its suffix says.
    """
    suffix, compressed = Path(file.name.removesuffix(".gz")).suffix.lower(), file.suffix == ".gz"
    with ExitStack() as opened:
        try:
            raw = opened.enter_context(file.open("rb"))
            if (raw.peek(2)[:2] == GZIP) != compressed:
                found = "it is not compressed by gzip, but its name says .gz"
                if not compressed:
                    found = "it is compressed by gzip, but its name lacks .gz"
                raise BadInput("problems.path", str(file), found)
            if compressed:
                unpacked: Any = gzip.GzipFile(fileobj=raw)
                raw = opened.enter_context(io.BufferedReader(unpacked))
            begin = raw.peek(4096)
            if suffix in READERS and (begin[:4] == PARQUET) != (suffix == ".parquet"):
                what = "a Parquet file" if begin[:4] == PARQUET else "no Parquet file"
                raise BadInput("problems.path", str(file), f"it is {what}, but its name ends in {suffix}")
            yield from READERS[suffix if suffix in READERS else _guessed(begin, file)](raw, file)
        except UnicodeDecodeError as error:
            reason = f"the file is not UTF-8 text ({error.reason})"
            raise BadInput("problems.path", str(file), reason) from error
        except (OSError, EOFError, zlib.error) as error:  # those of gzip too
            raise BadInput("problems.path", str(file), f"it cannot be read ({in_one_line(error)})") from error


def _guessed(begin: bytes, file: Path) -> str:
    """The suffix of what a file holds that has another one."""
    if begin[:4] == PARQUET:
        return ".parquet"
    first = begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        return ".json"
    if first in (b"{", b""):
        return ".jsonl"
    raise BadInput(
        "problems.path", str(file), f"allowed: a name that ends in {', '.join(READERS)}, or these .gz"
    )


def _json_lines(raw: BinaryIO, file: Path) -> Iterator[Row]:
    for number, line in enumerate(io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n"), start=1):
        if line.strip():
            where = f"{file}:{number}"
            yield where, _entry(_parsed(line, where), where)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise BadInput(where, text[:60], "the line is JSON that is nested too deeply") from None
    except ValueError as error:
        reason = getattr(error, "msg", str(error))
        raise BadInput(where, text.strip()[:60], f"the line is not JSON ({reason})") from error


def _entry(entry: Any, where: str) -> Mapping[str, Any]:
    if isinstance(entry, dict):
        return entry
    needed = "allowed: a JSON object with problem and answer (a JSON array belongs in a file .json)"
    raise BadInput(where, str(entry)[:60], needed)


def _json(raw: io.BufferedReader, file: Path) -> Iterator[Row]:
    """The rows of a JSON array; of the one list in an object, such as {"data": [...]}; or of JSON lines."""
    text = raw.read().decode("utf-8-sig")
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "Extra data" not in str(error):  # that is a second line
            raise BadInput("problems.path", str(file), f"it is not JSON ({error})") from error
        yield from _json_lines(io.BytesIO(text.encode()), file)
        return
    if isinstance(held, dict):
        lists = [value for value in held.values() if isinstance(value, list) and value]
        tables = [value for value in lists if all(isinstance(row, dict) for row in value)]
        held = tables[0] if len(tables) == 1 else [held]
    if not isinstance(held, list):
        raise BadInput("problems.path", str(file), "allowed: a JSON array of objects, or JSON lines")
    for number, entry in enumerate(held, start=1):
        where = f"{file}: row {number}"
        yield where, _entry(entry, where)


def _separated(separator: str) -> Callable[[io.BufferedReader, Path], Iterator[Row]]:
    def read(raw: io.BufferedReader, file: Path) -> Iterator[Row]:
        begin = raw.peek(4096).removeprefix(b"\xef\xbb\xbf")
        if begin.lstrip()[:2] in (b'{"', b"[{", b"[\n"):
            raise BadInput("problems.path", str(file), f"it is JSON, but its name ends in {file.suffix}")
        header = begin.partition(b"\n")[0]
        by = ";" if separator == "," and b"," not in header and b";" in header else separator
        csv.field_size_limit(LONGEST_CELL)
        table = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), delimiter=by, strict=True)
        try:
            names = next(table, [])
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise BadInput(f"{file}:1", twice, "two columns have this name; allowed: each name once")
            for cells in table:
                if by == ";":
                    cells = [_with_point(cell) for cell in cells]
                if not cells:
                    continue
                where = f"{file}:{table.line_num}"
                if len(cells) != len(names):
                    needed = f"needed: {len(names)}, one for each of {', '.join(names)}"
                    raise BadInput(where, f"{len(cells)} cells", needed)
                yield where, {name: cell or None for name, cell in zip(names, cells, strict=True)}
        except csv.Error as error:
            raise BadInput(
                f"{file}:{table.line_num}", str(error), "allowed: quoted cells, rows of lines"
            ) from error

    return read


def _with_point(cell: str) -> str:
    """The cell, with a point for its comma where it is a number and nothing else."""
    found = _DECIMAL.fullmatch(cell.strip())
    return cell if found is None else f"{found[1].replace('.', '')}.{found[2]}"


def _parquet(raw: io.BufferedReader, file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(raw.read()) if file.suffix == ".gz" else raw)
        number = 0
        for batch in table.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
    except pa.ArrowException as error:
        raise BadInput(
            "problems.path", str(file), f"it is no whole Parquet file ({in_one_line(error)})"
        ) from error
    except OverflowError as error:  # a date after the year 9999
        needed = f"allowed: values that Python can hold ({in_one_line(error)})"
        raise BadInput("problems.path", str(file), needed) from error


READERS: Mapping[str, Callable[[io.BufferedReader, Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
"""By suffix, what reads the rows."""
