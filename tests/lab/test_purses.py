"""New problems of coins: ways to pay, splits that cannot overlap, streams in pieces, tokens, examples."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from orchestrator.lab.labels import labelled_samples
from orchestrator.lab.model import new_generator, save_generator
from orchestrator.lab.purses import part_of, purses, write_published
from orchestrator.lab.puzzles import SPLITS
from orchestrator.lab.tasks import TASKS
from orchestrator.lab.tokenizer import COIN_VOCABULARY, EOS, EOS_ID, PAD_ID, build_tokenizer
from orchestrator.problems import coins as task


def test_every_solution_pays_and_orders_and_wordings_vary() -> None:
    made = purses("test", 5, 0, 600)
    for purse in made:
        lines = task.read_lines(purse.prompt, purse.solution)
        assert all(line.hopeful for line in lines)
        assert len(lines) == len(purse.paid) + 1
        assert sum(purse.paid) == purse.amount
        assert 1 <= len(purse.paid) <= task.MOST_PAID
    orders = [np.argsort(purse.paid).tolist() for purse in made if len(purse.paid) == 3]
    assert {tuple(order) for order in orders} == set(itertools.permutations(range(3)))
    assert {word for purse in made for word in purse.wordings} == {0, 1, 2}


def test_coins_alone_decide_the_split() -> None:
    for split, parts in SPLITS.items():
        for problem in task.problems(split, 60):
            coins, _ = task.parse_prompt(problem.prompt)
            assert coins == sorted(set(coins))
            assert part_of(np.array(coins)) in parts
        assert all(part_of(np.array(purse.coins)) in parts for purse in purses(split, 3, 0, 70))


def test_the_published_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    write_published(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(task.PUBLISHED) as published:
        assert set(again) == set(published)
        for name in published:
            assert np.array_equal(again[name], published[name]), name


def test_a_stream_can_be_read_in_pieces() -> None:
    whole = purses("train", 9, 0, 40)
    assert whole == [*purses("train", 9, 0, 13), *purses("train", 9, 13, 27)]
    assert whole[0] != purses("train", 10, 0, 1)[0]


def test_a_word_is_a_token_and_text_reads_back() -> None:
    tokenizer = build_tokenizer(COIN_VOCABULARY)
    lengths = set()
    for purse in purses("test", 5, 0, 140):
        text = purse.prompt + purse.solution + EOS
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
        assert ids[-1] == EOS_ID
        assert len(tokenizer(purse.solution)["input_ids"]) < task.SOLUTION_TOKENS
        lengths |= {len(tokenizer(line)["input_ids"]) for line in purse.solution.split("\n")[:-1]}
    assert lengths == {8, 9, 12}, "steps have different lengths"


def test_examples_are_the_streams_problems_and_the_loss_covers_their_solutions() -> None:
    tokenizer = build_tokenizer(COIN_VOCABULARY)
    texts, solutions = [], []
    for part in TASKS["coins"].examples(4, 2, 16):
        for tokens, solution in zip(part.tokens, part.solution, strict=True):
            texts.append(tokenizer.decode(tokens[tokens != PAD_ID]))
            solutions.append(tokenizer.decode(tokens[solution]))
    made = purses("train", 4, 32, 16)
    assert sorted(texts) == sorted(purse.prompt + purse.solution + EOS for purse in made)
    assert sorted(solutions) == sorted(purse.solution + EOS for purse in made)


def test_solutions_are_judged_by_their_answers_and_their_lines() -> None:
    tokenizer = build_tokenizer(COIN_VOCABULARY)
    purse = next(p for p in purses("validation", 20260, 0, 12) if len(p.paid) == 2)
    problem = next(p for p in task.problems("validation", 12) if p.prompt == purse.prompt)
    way, answer = purse.solution, f"the answer is {problem.answer}."
    texts = [way, "the answer is 1.", answer, answer[:-1], "\n" * 20]
    rows = [tokenizer(text + EOS * (i < 3))["input_ids"] for i, text in enumerate(texts)]
    solutions = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    judged = TASKS["coins"].judge(problem, solutions)
    assert judged.right.tolist() == [True, False, True, False, False]
    assert judged.lucky.tolist() == [False, False, True, False, False]
    assert judged.answers.tolist() == [0, 1, 0, -1, -1], "a solution that has not ended has no answer"
    assert judged.steps.sum(1).tolist() == [3, 1, 1, 1, task.MOST_PAID + 3]
    assert judged.good[0, :3].tolist() == [True, True, True]
    assert not judged.good[1:].any()
    assert judged.ends[:, -1].tolist() == [len(row) - 1 for row in rows]
    first_line = tokenizer(way.split("\n")[0] + "\n")["input_ids"]
    assert judged.ends[0, :3].tolist() == [len(first_line) - 1, len(rows[0]) - 9, len(rows[0]) - 1]


def test_a_step_is_labelled_with_the_share_of_right_answers_among_samples_that_begin_with_it(
    tmp_path: Path,
) -> None:
    task_, tokenizer = TASKS["coins"], build_tokenizer(COIN_VOCABULARY)
    save_generator(new_generator("s", 0, COIN_VOCABULARY), tmp_path, COIN_VOCABULARY)
    right = {p.id: p.answer for p in task_.problems("train", 3)}
    texts = ["coin 1: 3, 1 left.\nthe answer is {}.", "coin 1: 3, 1 left.\nthe answer is 99.", "the answer"]
    written = [
        [tokenizer(text.format(answer) + EOS * (k < 2))["input_ids"] for k, text in enumerate(texts)]
        for answer in right.values()
    ]
    samples = torch.zeros(3, 3, task_.tokens, dtype=torch.long)
    for i, some in enumerate(written):
        for k, tokens in enumerate(some):
            samples[i, k, : len(tokens)] = torch.tensor(tokens)
    with mock.patch("orchestrator.lab.labels.sample", return_value=samples):
        rows = list(labelled_samples(task_, tmp_path, 3, 3, 0))
    assert [row.problem for row in rows] == [name for name in right for _ in range(2)], "two have an answer"
    assert [row.labels for row in rows] == [(0.5, 1.0), (0.5, 0.0)] * 3
    for row in rows:
        assert tokenizer.decode(row.tokens) == row.prompt + "".join(row.steps) + EOS
        assert tokenizer.decode(row.tokens[: row.step_ends[0]]) == row.prompt + row.steps[0]
        assert row.step_ends[-1] == len(row.tokens)
