"""The published problems never change; their text, tokens and steps."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from orchestrator.errors import BadInput
from orchestrator.lab.tokenizer import EOS_ID, build_tokenizer
from orchestrator.problems import lab as task

PINNED = "4a72abe8cdcc5238c50601b2b663487db66c1a025d3f91216d1db8c1ba4ed10f"


def test_blanks_are_uniform_in_every_block_of_19() -> None:
    difficulty = [p.difficulty for p in task.problems("bins", 57)]
    for block in range(3):
        assert sorted(difficulty[block * 19 : block * 19 + 19]) == list(range(6, 25))
    for problem in task.problems("bins", 57):
        assert problem.prompt.count(".") == problem.difficulty


def test_problems_never_change() -> None:
    """The published numbers are about these problems: a new hash means new problems."""
    text = "".join(
        p.id + p.prompt + p.answer for s in ("test", "bins", "validation") for p in task.problems(s)
    )
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED
    assert task.problems("test", 7) == task.problems("test")[:7]
    assert task.problems("test", 8)[7].id == "lab-test-0007"


def test_reading_problems_does_not_import_numba() -> None:
    """A vLLM 0.32 CPU engine cannot start in a process that has imported numba."""
    code = (
        "import sys; from orchestrator.problems import lab as task; import orchestrator.lab.tokenizer;"
        "assert len(task.problems('test')) == 2000; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_row_is_seven_tokens_and_text_roundtrips() -> None:
    tokenizer = build_tokenizer()
    newline, end = tokenizer("\n=")["input_ids"]
    for problem in task.problems("test", 38):
        prompt, answer = tokenizer(problem.prompt)["input_ids"], tokenizer(problem.answer)["input_ids"]
        assert tokenizer.decode(prompt) == problem.prompt
        assert tokenizer.decode(prompt + answer) == problem.prompt + problem.answer
        assert [i for i, token in enumerate(prompt) if token in (newline, end)] == [6, 13, 20, 27, 34, 41]
        solution = [*answer, tokenizer.eos_token_id]
        assert len(solution) == task.SOLUTION_TOKENS
        assert [i for i, t in enumerate(solution) if t in (newline, EOS_ID)] == [6, 13, 20, 27, 34, 41]
    text = "\n\n.=#\n123456789\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_bad_input_names_what_is_allowed() -> None:
    with pytest.raises(BadInput, match="test, bins, validation or train"):
        task.problems("dev")
    with pytest.raises(BadInput, match="0 or more"):
        task.problems("test", -1)
    with pytest.raises(BadInput, match="six rows"):
        task.parse_prompt("123")
