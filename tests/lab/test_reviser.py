"""The reviser: its prompt, the contexts it learns from, what its loss covers, training, evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.lab.evaluate_reviser import evaluate_reviser, flips
from orchestrator.lab.model import load_generator, new_generator, parameter_count
from orchestrator.lab.puzzles import puzzle_arrays
from orchestrator.lab.revision import revision_tokens, sample_chains, well_formed
from orchestrator.lab.sampling import sample
from orchestrator.lab.tasks import TASKS
from orchestrator.lab.tokenizer import EOS_ID, IDS, PROMPT_END_ID, build_tokenizer, grid_tokens
from orchestrator.lab.train import CHECKPOINTS
from orchestrator.lab.train_reviser import (
    Attempts,
    ReviserRecipe,
    batch_loss,
    edit_distances,
    revision_batches,
    train_reviser,
    wrong_contexts,
)
from orchestrator.problems import lab as task
from orchestrator.verifiers.training import RESUME_FILE

GENERATOR, REVISER = CHECKPOINTS / "generator-s", CHECKPOINTS / "reviser"
TINY = ReviserRecipe(steps=14, batch=10, puzzles=19, samples=6)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pool() -> Attempts:
    puzzles, solutions = puzzle_arrays("train", 21, 0, 38)
    prompts = torch.from_numpy(grid_tokens(puzzles, PROMPT_END_ID))
    answers = torch.from_numpy(grid_tokens(solutions, EOS_ID))
    return Attempts.of(prompts, answers, sample(load_generator(GENERATOR), prompts, 8, 0))


def quiet(line: str) -> None: ...


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def levenshtein(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        corner, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            corner, row[j + 1] = row[j + 1], min(corner + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def test_revision_prompt_puts_the_last_four_attempts_before_the_problem() -> None:
    problem, *others = task.problems("validation", 7)
    attempts = [p.answer for p in others]
    assert task.revision_prompt(problem.prompt, []) == problem.prompt
    two = task.revision_prompt(problem.prompt, attempts[:2])
    assert two == attempts[0] + "#" + attempts[1] + "#" + problem.prompt
    assert task.revision_prompt(problem.prompt, attempts) == task.revision_prompt(
        problem.prompt, attempts[2:]
    )
    assert task.revision_prompt(problem.prompt, [attempts[0] + "\n"]) == attempts[0] + "#" + problem.prompt
    # What would break the stride is left out, and does not use up a place.
    cut = [*attempts[1:4], attempts[4][:-1], attempts[5], attempts[0] + "1"]
    kept = [*attempts[1:4], attempts[5]]
    assert task.revision_prompt(problem.prompt, cut) == "".join(a + "#" for a in kept) + problem.prompt


def test_a_revision_prompt_keeps_the_stride_of_42_tokens() -> None:
    problem, *others = task.problems("validation", 5)
    tokenizer = build_tokenizer()
    prompts = torch.tensor([tokenizer(problem.prompt)["input_ids"]])
    attempts = torch.tensor([[[*tokenizer(p.answer)["input_ids"], EOS_ID] for p in others]])
    for k in range(5):
        ids = tokenizer(task.revision_prompt(problem.prompt, [p.answer for p in others[:k]]))["input_ids"]
        assert [i for i, token in enumerate(ids) if token == IDS["#"]] == [42 * i + 41 for i in range(k)]
        assert len(ids) == 42 * (k + 1)
        assert revision_tokens(prompts, attempts[:, :k])[0].tolist() == ids
    assert len(ids) + task.SOLUTION_TOKENS == 252 <= load_generator(GENERATOR).config.max_position_embeddings


def test_edit_distances_are_levenshtein() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 4, (50, 9)), rng.integers(1, 4, (50, 11))
    expected = [
        levenshtein("".join(map(str, x)), "".join(map(str, y)))
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert edit_distances(a, b).tolist() == expected
    assert edit_distances(np.array([[1, 2, 3, 4]]), np.array([[2, 3, 4, 5]])).tolist() == [2]


def test_contexts_hold_only_incorrect_attempts_and_the_closest_comes_last(pool: Attempts) -> None:
    rng = np.random.default_rng(0)
    for k in (1, 2, 3, 4):
        puzzle, which = wrong_contexts(pool, k, 200, rng)
        assert which.shape == (200, k)
        assert pool.wrong[puzzle[:, None], which].all()
        assert all(len(set(row)) == k for row in which.tolist())
        distance = pool.distances[puzzle[:, None], which]
        assert (distance[:, -1:] <= distance).all()
        # Where no more than four are incorrect, the last is the closest of all of them.
        few = pool.wrong[puzzle].sum(1) <= 4
        nearest = np.where(pool.wrong, pool.distances, 1000).min(1)[puzzle]
        assert few.any()
        assert (distance[few, -1] == nearest[few]).all()
        texts = pool.attempts[torch.from_numpy(puzzle[:, None]), torch.from_numpy(which.copy())]
        assert (texts != pool.answers[puzzle][:, None]).any(-1).all()


def test_batches_are_attempts_then_the_puzzle_then_its_answer(pool: Attempts) -> None:
    recipe = replace(TINY, batch=40)
    batches = revision_batches(pool, recipe, 0, 3)
    for k, tokens in enumerate(batches):
        assert tokens.shape == (8, 42 * k + 84)
        assert (tokens[:, 41 : 42 * k : 42] == IDS["#"]).all()
        assert (tokens[:, -1] == EOS_ID).all()
        assert (tokens[:, -43] == PROMPT_END_ID).all()
        prompt, answer = tokens[:, -84:-42], tokens[:, -42:]
        clue = (prompt >= IDS["1"]) & (prompt <= IDS["6"])
        assert (answer[clue] == prompt[clue]).all()
        for attempt in tokens[:, : 42 * k].unflatten(1, (k, 42)).unbind(1) if k else ():
            assert (attempt[:, :-1] != answer[:, :-1]).any(1).all()
    assert torch.equal(batches[4], revision_batches(pool, recipe, 0, 3)[4])
    assert not torch.equal(batches[4], revision_batches(pool, recipe, 0, 4)[4])


def test_renaming_symbols_keeps_everything_else() -> None:
    tokens = torch.arange(16).repeat(50, 1)
    new = TASKS["lab"].renamed(tokens, np.random.default_rng(0))
    assert torch.equal(new.sort(1).values, tokens)
    assert torch.equal(new[:, :7], tokens[:, :7])
    assert torch.equal(new[:, 13:], tokens[:, 13:])
    assert len({tuple(row) for row in new.tolist()}) > 40


def test_the_loss_covers_only_the_answer(pool: Attempts) -> None:
    model = new_generator("s", 0)
    tokens = revision_batches(pool, replace(TINY, batch=20), 0, 0)[3]
    logits = model(tokens).logits
    labels = tokens.clone()
    labels[:, :-42] = -100
    expected = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert torch.allclose(batch_loss(model, tokens), expected, atol=1e-5)


def test_training_is_deterministic_resumes_and_learns(tmp_path: Path) -> None:
    losses = train_reviser(tmp_path / "learned", GENERATOR, TINY, seed=1, log=quiet)
    assert np.mean(losses[-2:]) < np.mean(losses[:2]) - 0.05  # still in the warm-up
    short = replace(TINY, steps=3)
    train_reviser(tmp_path / "a", GENERATOR, short, seed=1, log=quiet)
    calls = 0
    while not calls or (tmp_path / "b" / RESUME_FILE).exists():
        calls += 1
        train_reviser(tmp_path / "b", GENERATOR, short, seed=1, minutes=0.0, log=quiet)  # one step a call
    assert calls == short.steps
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert not list((tmp_path / "b").glob("*.pt"))


def test_chains_see_their_own_last_attempts() -> None:
    model = load_generator(GENERATOR)
    tokenizer = build_tokenizer()
    tests = task.problems("validation", 4)
    prompts = torch.tensor([tokenizer(p.prompt)["input_ids"] for p in tests])
    chains = sample_chains(model, prompts, 3, seed=1, temperature=1e-6)
    assert chains.shape == (4, 3, 42)
    assert torch.equal(chains[:, 0], sample(model, prompts, 1, 0, temperature=1e-6)[:, 0])
    for chain, problem in zip(chains, tests, strict=True):
        attempts = tokenizer.batch_decode(chain, skip_special_tokens=True)
        prompt = task.revision_prompt(problem.prompt, attempts[:2])
        assert well_formed(chain[:2]).all() == (len(prompt) == 126)
        context = torch.tensor([tokenizer(prompt)["input_ids"]])
        assert torch.equal(sample(model, context, 1, 0, temperature=1e-6)[0, 0], chain[2])


def test_a_revision_of_the_committed_reviser_is_better_than_its_first_attempt() -> None:
    tests = task.problems("validation", 190)
    tokenizer = build_tokenizer()
    prompts = torch.tensor([tokenizer(p.prompt)["input_ids"] for p in tests])
    answers = torch.tensor([[*tokenizer(p.answer)["input_ids"], EOS_ID] for p in tests])
    attempts = sample_chains(load_generator(REVISER), prompts, 2, seed=0)
    correct = (attempts == answers[:, None]).all(-1).float().mean(0)
    assert correct[1:].mean() > correct[0] + 0.02


def test_flips() -> None:
    correct = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], bool)
    assert flips(correct) == ([0.5, 0.5], [0.5, 0.0])


def test_committed_reviser_is_a_stock_directory_that_revises_without_harm() -> None:
    model = AutoModelForCausalLM.from_pretrained(REVISER)
    assert parameter_count(model) < 2 * parameter_count(load_generator(GENERATOR))
    tokenizer = AutoTokenizer.from_pretrained(REVISER)
    problem = task.problems("validation", 1)[0]
    text = task.revision_prompt(problem.prompt, [problem.answer])
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    lines: list[str] = []
    result = evaluate_reviser(
        GENERATOR, REVISER, "validation", limit=10, chains=1, seeds=(0,), log=lines.append
    )
    every = {metric: values[0] for metric, values in result["groups"]["all"].items()}
    # Its first attempt is about as good as the generator's.
    assert every["first"] > every["base"] - 0.1
    assert every["cov16 seq"] > every["first"] + 0.05
    assert "cov16 seq" in lines[0]
