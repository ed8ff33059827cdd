"""The models: training is deterministic, resumable and learns; the committed checkpoints are as described."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.commands.cli import run_command
from orchestrator.errors import BadInput
from orchestrator.lab import sampling
from orchestrator.lab.evaluate import evaluate
from orchestrator.lab.model import (
    LARGEST,
    deepened,
    load_generator,
    new_generator,
    parameter_count,
    save_generator,
)
from orchestrator.lab.tasks import TASKS
from orchestrator.lab.tokenizer import EOS_ID, PAD_ID, build_tokenizer
from orchestrator.lab.train import CHECKPOINTS, RECIPES, train, train_tracked
from orchestrator.lab.train_generator import GeneratorRecipe, train_generator
from orchestrator.problems import lab as task
from orchestrator.tracking.tracker import local_uri
from orchestrator.verifiers.model import load_verifier
from orchestrator.verifiers.training import RESUME_FILE

GENERATION_ARCHITECTURE = "Qwen2ForCausalLM"
REWARD_ARCHITECTURE = "Qwen2ForTokenClassification"
GENERATOR, PRM = CHECKPOINTS / "generator-s", CHECKPOINTS / "prm"
TINY = GeneratorRecipe(size="s", steps=14, batch=6)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def quiet(line: str) -> None: ...


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def prompts_of(problems: list) -> torch.Tensor:
    tokenizer = build_tokenizer()
    return torch.tensor([tokenizer(p.prompt)["input_ids"] for p in problems])


def test_generator_training_is_deterministic_and_learns(tmp_path: Path) -> None:
    short = replace(TINY, steps=4)
    losses = train_generator(tmp_path / "a", short, seed=1, log=quiet)
    again = train_generator(tmp_path / "b", short, seed=1, log=quiet)
    longer = train_generator(tmp_path / "c", TINY, seed=2, log=quiet)
    assert losses == again
    assert losses[0] != longer[0]
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    assert np.mean(longer[-3:]) < np.mean(longer[:3]) - 0.1
    assert not (tmp_path / "a" / RESUME_FILE).exists()


def test_training_stopped_early_continues_to_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=5)
    train_generator(tmp_path / "whole", recipe, seed=3, log=quiet)
    calls = 0
    while not calls or (tmp_path / "parts" / RESUME_FILE).exists():
        calls += 1
        train_generator(tmp_path / "parts", recipe, seed=3, minutes=0.0, log=quiet)  # one step a call
        if calls == 1:
            with pytest.raises(BadInput, match="seed 3"):
                train_generator(tmp_path / "parts", recipe, seed=4, log=quiet)
    assert calls == recipe.steps
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_a_larger_sibling_begins_as_the_smaller_one_with_new_layers(tmp_path: Path) -> None:
    recipe = replace(RECIPES["generator-l"], steps=1, batch=8)
    smaller, base = load_generator(CHECKPOINTS / "generator-m"), CHECKPOINTS / "generator-m"
    (first,) = train_generator(tmp_path, recipe, seed=0, log=quiet, base=base)
    grown = load_generator(tmp_path)
    assert (len(smaller.model.layers), len(grown.model.layers)) == (4, 14)
    (examples,) = TASKS["lab"].examples(0, 0, 8)
    tokens = examples.tokens
    logits = smaller(tokens[:, :-1]).logits[:, task.PROMPT_TOKENS - 1 :]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, task.PROMPT_TOKENS :].flatten())
    assert first == pytest.approx(loss.item(), rel=1e-3)


def test_saved_generators_load_back_bit_for_bit(tmp_path: Path) -> None:
    generator = new_generator("s", 0)
    save_generator(generator, tmp_path / "g")
    back = load_generator(tmp_path / "g").state_dict()
    assert all(torch.equal(back[k], v) for k, v in generator.state_dict().items())
    with pytest.raises(BadInput, match=r"config\.json"):
        load_generator(tmp_path / "none")


def test_sampling_follows_the_models_own_distribution() -> None:
    """The first sampled token against the softmax of a plain forward pass, and the cache against none."""
    model = load_generator(GENERATOR)
    prompts = prompts_of(task.problems("validation", 3))
    rows = sampling.sample(model, prompts, 192, seed=0)
    assert rows.shape == (3, 192, 42)
    few = sampling.sample(model, prompts, 8, seed=0)
    assert torch.equal(few, sampling.sample(model, prompts, 8, seed=0))
    assert not torch.equal(few, sampling.sample(model, prompts, 8, seed=1))
    # Nor does a sample depend on its batch (but for rounding).
    assert (sampling.sample(model, prompts[:1], 192, seed=0) == rows[:1]).float().mean() > 0.99
    expected = model(prompts).logits[:, -1].softmax(-1)
    observed = torch.nn.functional.one_hot(rows[:, :, 0], 16).float().mean(1)
    assert (expected - observed).abs().max() < 0.1
    # Near zero temperature each token is the argmax of an uncached forward pass over what came before.
    greedy = sampling.sample(model, prompts, 1, seed=0, temperature=1e-6)[:, 0]
    logits = model(torch.cat([prompts, greedy], 1)).logits[:, prompts.shape[1] - 1 : -1]
    before_end = (greedy == PAD_ID).logical_not()
    assert torch.equal(logits.argmax(-1)[before_end], greedy[before_end])


@pytest.mark.parametrize(
    ("name", "architecture", "hidden", "layers", "parameters"),
    [
        ("generator-s", GENERATION_ARCHITECTURE, 64, 4, 216_384),
        ("generator-m", GENERATION_ARCHITECTURE, 128, 4, 858_752),
        ("generator-l", GENERATION_ARCHITECTURE, 128, 14, 2_995_072),
        ("reviser", GENERATION_ARCHITECTURE, 64, 7, 377_088),
        ("prm", REWARD_ARCHITECTURE, 64, 7, 376_129),
        ("prm-weak", REWARD_ARCHITECTURE, 64, 5, 268_993),
        ("orm", REWARD_ARCHITECTURE, 64, 10, 536_833),
        ("coins-generator-s", GENERATION_ARCHITECTURE, 64, 4, 230_080),
        ("coins-generator-m", GENERATION_ARCHITECTURE, 128, 4, 886_144),
        ("coins-prm", REWARD_ARCHITECTURE, 64, 7, 382_977),
        ("coins-prm-weak", REWARD_ARCHITECTURE, 64, 5, 275_841),
    ],
)
def test_checkpoint_is_a_stock_directory(
    name: str, architecture: str, hidden: int, layers: int, parameters: int
) -> None:
    directory = CHECKPOINTS / name
    config = json.loads((directory / "config.json").read_text())
    assert config["architectures"] == [architecture]
    assert (config["hidden_size"], config["num_hidden_layers"]) == (hidden, layers)
    assert config["dtype"] == ("float16" if parameters > 2_500_000 else "float32")
    assert sum(f.stat().st_size for f in directory.iterdir()) <= 10e6
    assert not (directory / RESUME_FILE).exists()
    load = load_generator if architecture == GENERATION_ARCHITECTURE else load_verifier
    assert parameter_count(load(directory)) == parameters
    tokenizer = AutoTokenizer.from_pretrained(directory)
    kind = TASKS["coins" if name.startswith("coins") else "lab"]
    text = kind.problems("test", 1)[0].prompt + {"lab": "123456\n", "coins": "the answer is 12."}[kind.source]
    assert tokenizer(text)["input_ids"] == build_tokenizer(kind.vocabulary)(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (EOS_ID, PAD_ID)


def test_committed_generator_solves_easy_problems_in_stock_transformers() -> None:
    model = AutoModelForCausalLM.from_pretrained(GENERATOR)
    tokenizer = AutoTokenizer.from_pretrained(GENERATOR)
    easy = [p for p in task.problems("test", 190) if p.difficulty <= 8]
    out = model.generate(prompts_of(easy), max_new_tokens=50, do_sample=False)
    texts = tokenizer.batch_decode(out[:, task.PROMPT_TOKENS :], skip_special_tokens=True)
    right = sum(task.canonical_answer(text) == p.answer for text, p in zip(texts, easy, strict=True))
    assert right >= 0.8 * len(easy)


def test_committed_models_pass_the_gates_on_few_problems() -> None:
    lines: list[str] = []
    results = evaluate(
        GENERATOR, [PRM], split="validation", limit=38, samples=16, seeds=(0,), log=lines.append
    )
    result = results["prm"]
    every = {metric: values[0] for metric, values in result["groups"]["all"].items()}
    assert every["pass@1"] < every["majority@16"] < every["weighted@16"] <= every["coverage@16"]
    assert result["groups"]["Q1"]["pass@1"][0] > 0.9
    assert result["groups"]["Q5"]["pass@1"][0] < 0.1
    assert min(result["within_auc"][0]) > 0.55
    assert max(result["ece"]) < 0.15
    assert "weighted@16" in lines[0]


def test_committed_models_of_coins_pass_the_gates_on_few_problems() -> None:
    generator, prm = CHECKPOINTS / "coins-generator-s", CHECKPOINTS / "coins-prm"
    lines: list[str] = []
    results = evaluate(
        generator, [prm], "coins", "validation", limit=36, samples=16, seeds=(0,), log=lines.append
    )
    groups = results["coins-prm"]["groups"]
    every = {metric: values[0] for metric, values in groups["all"].items()}
    assert every["pass@1"] < min(every["majority@16"], every["weighted@16"])
    assert every["best@16"] < every["coverage@16"], "the verifier errs"
    assert results["coins-prm"]["within_auc_last"][0] > 0.7
    assert groups["1"]["pass@1"][0] > 0.9
    assert groups["6"]["pass@1"][0] < 0.1
    assert min(results["coins-prm"]["within_auc"][0][1:4]) > 0.6
    assert results["coins-prm"]["lucky"][0] < 0.1
    assert "right by luck" in lines[0]


def test_train_names_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput,
        match=r"generator-s, generator-m, .* coins-generator-s, coins-generator-m, prm, .* or coins-prm-weak",
    ):
        train("generator-xl", tmp_path)
    train("generator-s", tmp_path, minutes=0.0, log=quiet)
    assert (tmp_path / RESUME_FILE).exists()
    assert run_command(["lab", "train", "prm", str(tmp_path / "p"), "--labels", "none.parquet"]) == 2


def test_a_training_is_an_mlflow_run_with_its_recipe_and_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "generator-s", TINY)
    assert train_tracked("generator-s", tmp_path / "out", 0, None, tmp_path / "runs") is None
    client = MlflowClient(local_uri(tmp_path / "runs"))
    experiment = client.get_experiment_by_name("lab-training")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.steps"] == str(TINY.steps)
    last = client.get_metric_history(run.info.run_id, "loss")[-1]
    assert last.step == TINY.steps
    assert last.value > 0


def test_new_layers_change_nothing_until_they_are_trained() -> None:
    base = load_generator(GENERATOR)
    tokens = torch.randint(0, base.config.vocab_size, (2, 84), generator=torch.Generator().manual_seed(0))
    deeper = deepened(base, 2, seed=1).eval()
    assert len(deeper.model.layers) == len(base.model.layers) + 2
    assert torch.allclose(deeper(tokens).logits, base(tokens).logits, atol=1e-5)


def test_a_large_generator_is_stored_in_half_and_read_in_full(tmp_path: Path) -> None:
    model = new_generator("l", 0)
    save_generator(model, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < LARGEST
    assert model.lm_head.weight.dtype == torch.float32  # what was saved is left as it was
    back = load_generator(tmp_path).lm_head.weight
    assert back.dtype == torch.float32
    assert torch.allclose(back, model.lm_head.weight, rtol=1e-3, atol=1e-6)
