"""Copies of the ready sets' repositories: rows of their own columns, and what models write about them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.paths import CONFIGS

SETS = CONFIGS / "sets"
LONG = "We think. " * 40


def _math(problem: str, answer: str, subject: str, level: int, id: str) -> dict[str, Any]:
    solution = f"{LONG}$\\boxed{{{answer}}}$"
    return {
        "problem": problem,
        "solution": solution,
        "answer": answer,
        "subject": subject,
        "level": level,
        "unique_id": id,
    }


def _gpqa(question: str, right: str, wrong: list[str], id: str, domain: str) -> dict[str, Any]:
    return {
        "Question": question,
        "Correct Answer": right,
        **{f"Incorrect Answer {number}": text for number, text in enumerate(wrong, start=1)},
        "Explanation": LONG,
        "Record ID": id,
        "High-level domain": domain,
        "Subdomain": f"{domain} (general)",
    }


ROWS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "math-500": (
        "test.jsonl",
        [
            _math(
                "Convert $(0,3)$.",
                "\\left( 3, \\frac{\\pi}{2} \\right)",
                "Precalculus",
                2,
                "test/precalculus/807.json",
            ),
            _math("Which student is fastest?", "\\text{Evelyn}", "Algebra", 2, "test/algebra/1349.json"),
            _math("Solve $x^2 \\le 9$.", "[-3,3]", "Algebra", 3, "test/algebra/2.json"),
            _math("What percent is it?", "10\\%", "Prealgebra", 1, "test/prealgebra/3.json"),
            _math("Find the roots.", "1,-2", "Algebra", 4, "test/algebra/4.json"),
            _math("How much?", "\\$18.90", "Prealgebra", 1, "test/prealgebra/5.json"),
        ],
    ),
    "gsm8k": (
        "main/test-00000-of-00001.parquet",
        [
            {"question": "How many eggs?", "answer": "16 - 3 = <<16-3=13>>13\n9 * 2 = $18\n#### 18"},
            {"question": "How much does he make?", "answer": "He makes <<10*7000=70000>>it.\n#### 70,000"},
        ],
    ),
    "aime-2024": (
        "data/train-00000-of-00001.parquet",
        [
            {
                "id": 60,
                "problem": "Every morning …",
                "solution": LONG,
                "answer": "204",
                "url": "https://artofproblemsolving.com/wiki",
                "year": "2024",
            },
            {
                "id": 61,
                "problem": "There exist real numbers …",
                "solution": LONG,
                "answer": "025",
                "url": "https://artofproblemsolving.com/wiki",
                "year": "2024",
            },
        ],
    ),
    "aime-2025": (
        "test.jsonl",
        [
            {"problem": "Find the sum.", "answer": "70", "id": "0"},
            {"problem": "Find the number.", "answer": "588", "id": "1"},
        ],
    ),
    "amc-2023": (
        "data/test-00000-of-00001.parquet",
        [
            {
                "id": 0,
                "question": "Cities A and B …",
                "answer": 27.0,
                "url": "https://artofproblemsolving.com",
            },
            {"id": 1, "question": "The weight …", "answer": 36.0, "url": "https://artofproblemsolving.com"},
        ],
    ),
    "gpqa-diamond": (
        "gpqa_diamond.csv",
        [
            _gpqa(
                "Two quantum states, with\ndifferent lifetimes …",
                "10^-4 eV",
                ["10^-11 eV", "10^-8 eV", "10^-9 eV"],
                "rec06pnAkLOr2t2mp",
                "Physics",
            ),
            _gpqa("How many carbon atoms …", "11", ["10", "12", "14"], "rec0Arme2jcXQZnAW", "Chemistry"),
        ],
    ),
}
"""By set: the place of its file in its repository, and rows with its columns."""


def write(name: str, directory: Path) -> Path:
    """Writes a copy of a set's repository into a directory. Returns its path."""
    place, rows = ROWS[name]
    repository = directory / name.split("-")[0]
    path = repository / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as opened:
            table = csv.DictWriter(opened, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return repository
