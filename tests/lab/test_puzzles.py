"""New puzzles: unique solutions, splits that cannot overlap, streams that are read in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.lab import puzzles as making
from orchestrator.lab.puzzles import count_solutions
from orchestrator.lab.tasks import TASKS
from orchestrator.lab.tokenizer import EOS_ID, PROMPT_END_ID, build_tokenizer, grid_tokens
from orchestrator.problems import lab as task


def split_of(prompt: str) -> str:
    """Returns the only split in which this prompt, or a renaming of its symbols, can appear."""
    part = making.part_of(task.parse_prompt(prompt))
    return next(split for split, parts in making.SPLITS.items() if part in parts)


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
    puzzles, solutions = making.puzzle_arrays("test", 5, 0, 190)
    for puzzle, solution in zip(puzzles, solutions, strict=True):
        assert is_latin(solution)
        assert ((puzzle == 0) | (puzzle == solution)).all()
        assert brute_force(puzzle.tolist()) == 1


def test_count_solutions_agrees_with_brute_force_on_ambiguous_and_impossible_grids() -> None:
    puzzles, _ = making.puzzle_arrays("train", 6, 0, 60)
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


def test_splits_are_disjoint_also_from_training_data_as_generated() -> None:
    seen: dict[str, str] = {}
    sizes = dict.fromkeys(task.SPLITS, 0)
    for split in task.SPLITS:
        for problem in task.problems(split):
            assert split_of(problem.prompt) == split
            assert problem.prompt not in seen, f"{problem.id} is also in {seen[problem.prompt]}"
            seen[problem.prompt] = split
            sizes[split] += 1
    assert min(sizes.values()) >= 1000
    tokenizer = build_tokenizer()
    batches = [TASKS["lab"].examples(seed, step, 64)[0].tokens for seed in (0, 1) for step in (0, 1, 2099)]
    for tokens in batches:
        for row in tokens[:, : task.PROMPT_TOKENS].tolist():
            prompt = tokenizer.decode(row)
            assert split_of(prompt) == "train"
            assert seen.get(prompt, "train") == "train"


def test_a_renaming_of_a_puzzle_stays_in_its_split() -> None:
    rename = str.maketrans("123456", "365214")
    for problem in task.problems("test", 200):
        assert split_of(problem.prompt.translate(rename)) == "test"


def test_the_published_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    making.write_published(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(task.PUBLISHED) as published:
        assert set(again) == set(published)
        for name in published:
            assert np.array_equal(again[name], published[name]), name


def test_a_stream_can_be_read_in_pieces() -> None:
    whole = making.puzzle_arrays("train", 9, 0, 100)
    first, second = making.puzzle_arrays("train", 9, 0, 37), making.puzzle_arrays("train", 9, 37, 63)
    for i in range(2):
        assert np.array_equal(whole[i], np.concatenate([first[i], second[i]]))
    other = making.puzzle_arrays("train", 10, 0, 100)
    assert not np.array_equal(whole[0], other[0])


def test_grid_tokens_are_the_tokenizers() -> None:
    tokenizer = build_tokenizer()
    puzzles, solutions = making.puzzle_arrays("bins", 3, 0, 19)
    for i in range(19):
        prompt = tokenizer(task.prompt_text(puzzles[i]))["input_ids"]
        assert grid_tokens(puzzles, PROMPT_END_ID)[i].tolist() == prompt
        answer = tokenizer(task.solution_text(solutions[i]))["input_ids"]
        assert grid_tokens(solutions, EOS_ID)[i].tolist() == [*answer, EOS_ID]
