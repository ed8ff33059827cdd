"""The task: unique solutions, splits that cannot overlap, problems that never change, text and tokens."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import BadInput
from orchestrator.lab import task
from orchestrator.lab.quasigroup import count_solutions
from orchestrator.lab.tokenizer import EOS_ID, PROMPT_END_ID, build_tokenizer, grid_tokens
from orchestrator.lab.train_generator import training_batch

PINNED = "4a72abe8cdcc5238c50601b2b663487db66c1a025d3f91216d1db8c1ba4ed10f"


def brute_force(grid: list[int], limit: int = 2) -> int:
    """Solutions of a puzzle by the plainest search there is, counted up to ``limit``."""
    if 0 not in grid:
        return 1
    cell = grid.index(0)
    row, col = cell // 6, cell % 6
    taken = set(grid[row * 6 : row * 6 + 6]) | set(grid[col::6])
    found = 0
    for symbol in range(1, 7):
        if symbol not in taken and found < limit:
            found += brute_force([*grid[:cell], symbol, *grid[cell + 1 :]], limit - found)
    return found


def is_latin(grid: np.ndarray) -> bool:
    square = grid.reshape(6, 6)
    lines = [*square, *square.T]
    return all(sorted(line.tolist()) == [1, 2, 3, 4, 5, 6] for line in lines)


def test_every_puzzle_has_exactly_one_solution_and_it_is_the_answer() -> None:
    puzzles, solutions = task.puzzle_arrays("test", 5, 0, 190)
    for puzzle, solution in zip(puzzles, solutions, strict=True):
        assert is_latin(solution)
        assert ((puzzle == 0) | (puzzle == solution)).all()
        assert brute_force(puzzle.tolist()) == 1


def test_count_solutions_agrees_with_brute_force_on_ambiguous_and_impossible_grids() -> None:
    puzzles, _ = task.puzzle_arrays("train", 6, 0, 60)
    rng = np.random.default_rng(0)
    counts = []
    for puzzle in puzzles:
        grid = puzzle.copy()
        grid[rng.choice(np.flatnonzero(grid), 6, replace=False)] = 0
        expected = brute_force(grid.tolist(), 5)
        assert count_solutions(grid, 5) == expected
        counts.append(expected)
    assert max(counts) > 1
    conflict = puzzles[0].copy()
    conflict[0] = conflict[1] = 1
    assert count_solutions(conflict, 2) == 0


def test_blanks_are_uniform_in_every_block_of_19() -> None:
    difficulty = [p.difficulty for p in task.problems("bins", 57)]
    for block in range(3):
        assert sorted(difficulty[block * 19 : block * 19 + 19]) == list(range(6, 25))
    for problem in task.problems("bins", 57):
        assert problem.prompt.count(".") == problem.difficulty


def test_splits_are_disjoint_also_from_training_data_as_generated() -> None:
    seen: dict[str, str] = {}
    sizes = dict.fromkeys(task.SPLITS, 0)
    for split in task.SPLITS:
        for problem in task.problems(split):
            assert task.split_of(problem.prompt) == split
            assert problem.prompt not in seen, f"{problem.id} is also in {seen[problem.prompt]}"
            seen[problem.prompt] = split
            sizes[split] += 1
    assert min(sizes.values()) >= 1000
    tokenizer = build_tokenizer()
    batches = [training_batch(seed, step, 64) for seed in (0, 1) for step in (0, 1, 2099)]
    for tokens in batches:
        for row in tokens[:, : task.PROMPT_TOKENS].tolist():
            prompt = tokenizer.decode(row)
            assert task.split_of(prompt) == "train"
            assert seen.get(prompt, "train") == "train"


def test_a_renaming_of_a_puzzle_stays_in_its_split() -> None:
    rename = str.maketrans("123456", "365214")
    for problem in task.problems("test", 200):
        assert task.split_of(problem.prompt.translate(rename)) == "test"


def test_problems_never_change() -> None:
    """The published numbers are about these problems: a new hash means new problems."""
    text = "".join(
        p.id + p.prompt + p.answer for s in ("test", "bins", "validation") for p in task.problems(s)
    )
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED
    assert task.problems("test", 7) == task.problems("test")[:7]
    assert task.problems("test", 8)[7].id == "lab-test-0007"


def test_the_published_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    task.write_published(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(task.PUBLISHED) as published:
        assert set(again) == set(published)
        for name in published:
            assert np.array_equal(again[name], published[name]), name


def test_reading_problems_does_not_import_numba() -> None:
    """A vLLM 0.32 CPU engine cannot start in a process that has imported numba."""
    code = (
        "import sys; from orchestrator.lab import task; import orchestrator.lab.tokenizer;"
        "assert len(task.problems('test')) == 2000; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stream_can_be_read_in_pieces() -> None:
    whole = task.puzzle_arrays("train", 9, 0, 100)
    first, second = task.puzzle_arrays("train", 9, 0, 37), task.puzzle_arrays("train", 9, 37, 63)
    for i in range(2):
        assert np.array_equal(whole[i], np.concatenate([first[i], second[i]]))
    other = task.puzzle_arrays("train", 10, 0, 100)
    assert not np.array_equal(whole[0], other[0])


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


def test_grid_tokens_are_the_tokenizers() -> None:
    tokenizer = build_tokenizer()
    puzzles, solutions = task.puzzle_arrays("bins", 3, 0, 19)
    for i in range(19):
        prompt = tokenizer(task.prompt_text(puzzles[i]))["input_ids"]
        assert grid_tokens(puzzles, PROMPT_END_ID)[i].tolist() == prompt
        answer = tokenizer(task.solution_text(solutions[i]))["input_ids"]
        assert grid_tokens(solutions, EOS_ID)[i].tolist() == [*answer, EOS_ID]


def test_correct_steps_and_first_wrong_step() -> None:
    answer = task.problems("test", 1)[0].answer
    rows = answer.split("\n")
    swapped = rows[2][1] + rows[2][0] + rows[2][2:]
    wrong = "\n".join([*rows[:2], swapped, *rows[3:]])
    assert task.is_correct(answer, answer)
    assert task.is_correct(answer + "\n", answer)
    assert not task.is_correct(wrong, answer)
    assert task.correct_steps(wrong, answer) == [True, True, False, True, True, True]
    assert task.first_wrong_step(wrong, answer) == 2
    assert task.first_wrong_step(answer, answer) is None
    assert task.first_wrong_step("\n".join(rows[:4]), answer) == 4
    assert task.correct_steps(answer + "\n111111", answer) == [True] * 6 + [False]
    assert task.first_wrong_step(answer + "\n111111", answer) == 6


def test_bad_input_names_what_is_allowed() -> None:
    with pytest.raises(BadInput, match="test, bins, validation or train"):
        task.problems("dev")
    with pytest.raises(BadInput, match="0 or more"):
        task.problems("test", -1)
    with pytest.raises(BadInput, match="six rows"):
        task.parse_prompt("123")
