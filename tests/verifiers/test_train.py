"""Training a verifier from labels: it learns, keeps the best, goes on where it was, and leaves alone what is
frozen."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForTokenClassification

from orchestrator.commands.cli import run_command
from orchestrator.errors import BadInput
from orchestrator.verifiers.config import Schedule, TrainConfig
from orchestrator.verifiers.frozen import frozen_layers
from orchestrator.verifiers.inputs import Inputs
from orchestrator.verifiers.label import LabelledSolution, write_labels
from orchestrator.verifiers.measures import (
    Bin,
    auc,
    calibration_error,
    measure,
    reliability,
    within_problem_auc,
)
from orchestrator.verifiers.model import load_verifier, logits, new_verifier, scores
from orchestrator.verifiers.train import MEASURES_FILE, predict, split, train
from orchestrator.verifiers.training import RESUME_FILE
from tests.support.tiny_models import SYMBOLS, save_family, save_llama

CONFIG = TrainConfig(
    steps=40, batch=32, micro=16, lr=3e-3, warmup=5, dropout=0.1, held_out=0.25, every=10, patience=9
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


def rows(problems: int = 40, each: int = 6) -> list[LabelledSolution]:
    """Solutions of one or two steps; a step is good if its last token is small."""
    rng = random.Random(0)
    found = []
    for problem in range(problems):
        for _ in range(each):
            tokens, ends, labels = [11, problem % 10 + 1], [], []
            for _ in range(rng.randrange(1, 3)):
                sign = rng.randrange(1, 11)
                tokens += [14, *rng.choices(range(1, 11), k=rng.randrange(3)), sign]
                ends.append(len(tokens))
                labels.append(0.9 if sign < 6 else 0.0)
            parts = ["".join(SYMBOLS[t] for t in tokens[a:b]) for a, b in itertools.pairwise((0, 2, *ends))]
            found.append(
                LabelledSolution(
                    f"p{problem}", parts[0], tuple(parts[1:]), tuple(labels), tuple(tokens), tuple(ends)
                )
            )
    return found


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_a_verifier_learns_from_labels_and_is_saved_as_it_was_measured(backbone: Path, tmp_path: Path):
    measures = train(rows(), str(backbone), tmp_path / "v", CONFIG, log=lambda line: None)
    assert measures is not None
    assert measures.bce < measures.bce_constant - 0.05
    assert measures.within_auc_last is not None
    assert measures.within_auc_last > 0.8
    _, held = split(rows(), CONFIG.held_out, CONFIG.seed)
    again = measure(held, predict(load_verifier(tmp_path / "v"), held, micro=7))
    assert again.bce == pytest.approx(measures.bce, abs=1e-6), "scores do not depend on batch or padding"
    kept = json.loads((tmp_path / "v" / MEASURES_FILE).read_text())
    assert kept["held_out"]["bce"] == measures.bce
    assert not (tmp_path / "v" / RESUME_FILE).exists()
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "v")
    assert type(stock).__name__ == "LlamaForTokenClassification"


def test_a_verifier_of_another_family_learns_as_well(tmp_path: Path):
    backbone = save_family(tmp_path / "phi", "phi3")
    measures = train(rows(), str(backbone), tmp_path / "v", replace(CONFIG, freeze=1), log=lambda line: None)
    assert measures is not None
    assert measures.bce < measures.bce_constant - 0.05
    layers = load_verifier(tmp_path / "v").base_model.layers
    before = AutoModel.from_pretrained(backbone, dtype=torch.float32).layers
    unchanged = [
        torch.equal(a.mlp.down_proj.weight, b.mlp.down_proj.weight)
        for a, b in zip(layers, before, strict=True)
    ]
    assert unchanged == [True, False]


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("phi3", replace(CONFIG, extra_layers=1), "--extra-layers: 1 is not usable; allowed: 0, or"),
        ("gpt2", CONFIG, "needed: a family whose verifiers vLLM serves"),
        ("olmo2", CONFIG, "needed: a family that Transformers has a ForTokenClassification of"),
    ],
)
def test_what_a_family_cannot_be_is_one_line(tmp_path: Path, kind: str, config: TrainConfig, words: str):
    backbone = save_family(tmp_path / kind, kind)
    with pytest.raises(BadInput, match=re.escape(words)):
        train(rows(), str(backbone), tmp_path / "v", config, log=lambda line: None)


def test_a_training_stopped_and_gone_on_with_is_the_same_training(backbone: Path, tmp_path: Path):
    config = replace(CONFIG, steps=6, every=2)
    whole = train(rows(), str(backbone), tmp_path / "whole", config, log=lambda line: None)
    parts, calls = None, 0
    while parts is None:
        calls += 1
        parts = train(rows(), str(backbone), tmp_path / "parts", config, minutes=0, log=lambda line: None)
        if calls == 1:
            with pytest.raises(BadInput, match="another training"):
                train(rows(), str(backbone), tmp_path / "parts", replace(config, lr=1.0))
    assert calls == config.steps
    assert parts == whole
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_training_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(
    backbone: Path, tmp_path: Path
):
    lines: list[tuple[str, float, int]] = []
    config = replace(CONFIG, steps=1000, lr=1.0, warmup=0, every=1, patience=3)
    measures = train(rows(), str(backbone), tmp_path / "v", config, log=lambda line: None, track=lines.extend)
    assert measures is not None
    held_out = {step: value for name, value, step in lines if name == "held_out_bce"}
    best = min(held_out, key=lambda step: held_out[step])
    assert max(held_out) == best + config.patience < 1000
    assert measures.bce == pytest.approx(held_out[best])


@torch.inference_mode()
def test_new_layers_stand_on_what_the_old_ones_computed_bit_for_bit(backbone: Path):
    tokens = torch.tensor([row.tokens[:4] for row in rows(4)])
    model = new_verifier(str(backbone), list(tokens), extra_layers=2, freeze=None).eval()
    old = AutoModel.from_pretrained(backbone, dtype=torch.float32)(tokens, output_hidden_states=True)
    new = model.base_model(tokens, output_hidden_states=True)
    scale = old.hidden_states[1].abs().max() / new.hidden_states[1].abs().max()
    assert torch.log2(scale) == torch.log2(scale).round() != 0
    for layer in range(2):  # Transformers applies the last norm to the third
        assert torch.equal(old.hidden_states[layer], new.hidden_states[layer] * scale)
    assert len(model.base_model.layers) == 4


@pytest.mark.parametrize(("freeze", "moves"), [(0, [True, True]), (1, [False, True]), (None, [False, False])])
def test_frozen_layers_do_not_move(backbone: Path, tmp_path: Path, freeze: int | None, moves: list[bool]):
    config = replace(CONFIG, steps=2, freeze=-1 if freeze is None else freeze)
    train(rows(), str(backbone), tmp_path / "v", config, log=lambda line: None)
    before = AutoModel.from_pretrained(backbone, dtype=torch.float32)
    after = load_verifier(tmp_path / "v").base_model
    for layer, moved in enumerate(moves):
        one, two = before.layers[layer].mlp.up_proj.weight, after.layers[layer].mlp.up_proj.weight
        assert torch.equal(one, two) != moved
    assert torch.equal(before.embed_tokens.weight, after.embed_tokens.weight) == (freeze != 0)


def with_examples(found: list[LabelledSolution]) -> list[LabelledSolution]:
    """The rows after the same five tokens, as after the examples of a chat."""
    begun = (12, 3, 13, 2, 12)
    return [
        replace(row, tokens=(*begun, *row.tokens), step_ends=tuple(len(begun) + end for end in row.step_ends))
        for row in found
    ]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("freeze", "extra_layers", "frozen"), [(0, 1, 0), (1, 0, 1), (None, 1, 2), (None, 0, 2)]
)
def test_what_is_read_once_changes_no_score(
    tmp_path: Path, family: str, freeze: int | None, extra_layers: int, frozen: int
):
    backbone = save_llama(tmp_path / "b") if family == "llama" else save_family(tmp_path / "b", family)
    read = with_examples(rows(4))
    tokens = [torch.tensor(row.tokens) for row in read]
    model = new_verifier(str(backbone), tokens, freeze=freeze, extra_layers=extra_layers).eval()
    assert frozen_layers(model) == frozen
    inputs = Inputs.of(model, read)
    inputs.model.eval()
    assert len(inputs.shared) == 6, "the rows' own first token is one"
    assert inputs.shared.is_floating_point() == bool(frozen)
    for which in ([0], [3, 1, 2]):
        for found, i in zip(inputs.logits(which), which, strict=True):
            whole = logits(model, input_ids=tokens[i][None])[0, len(inputs.shared) :]
            torch.testing.assert_close(found[: len(whole)], whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("freeze", "extra_layers"), [(0, 0), (1, 0), (None, 1)])
def test_what_is_read_once_has_the_gradients_of_what_is_read_each_time(
    backbone: Path, freeze: int | None, extra_layers: int
):
    read = with_examples(rows(2))
    tokens = [torch.tensor(row.tokens) for row in read]
    model = new_verifier(str(backbone), tokens, freeze=freeze, extra_layers=extra_layers).eval()

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    last = [row.step_ends[-1] - 1 for row in read]
    each = gradients(
        sum(logits(model, input_ids=t[None])[0, end] for t, end in zip(tokens, last, strict=True))
    )
    inputs = Inputs.of(model, read)
    inputs.model.eval()
    found = inputs.logits(range(len(read)))
    ends = torch.tensor(last) - len(inputs.shared)
    once = gradients(found[torch.arange(len(read)), ends].sum())
    assert once.keys() == each.keys()
    assert once.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, gradient in each.items():
        torch.testing.assert_close(once[name], gradient, atol=1e-4, rtol=1e-4)


def test_frozen_layers_that_memory_does_not_hold_are_computed_in_each_pass(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = replace(CONFIG, steps=10, freeze=1, dropout=0.0)
    kept = train(rows(), str(backbone), tmp_path / "kept", config, log=lambda line: None)
    monkeypatch.setattr("orchestrator.verifiers.inputs.MOST_BYTES", 0)
    monkeypatch.setattr("orchestrator.verifiers.inputs._found", None)
    again = train(rows(), str(backbone), tmp_path / "again", config, log=lambda line: None)
    assert kept is not None
    assert again is not None
    assert again.bce == pytest.approx(kept.bce, abs=1e-5)


def test_inputs_can_be_changed_where_their_labels_hold(backbone: Path, tmp_path: Path):
    seen: list[torch.Tensor] = []

    def upside_down(tokens: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        seen.append(tokens)
        return tokens.flip(0)

    changed = replace(CONFIG, steps=1)
    train(rows(), str(backbone), tmp_path / "a", changed, log=lambda line: None, augment=upside_down)
    train(rows(), str(backbone), tmp_path / "b", changed, log=lambda line: None)
    assert [len(tokens) for tokens in seen] == [16, 16]
    assert weights(tmp_path / "a") != weights(tmp_path / "b")


def test_a_backbone_with_other_tokens_is_refused(backbone: Path, tmp_path: Path):
    labels, log = rows(), lambda line: None
    with pytest.raises(BadInput, match="it has 15 tokens, and the labels have token 99") as caught:
        train([*labels, replace(labels[0], tokens=(1, 99))], str(backbone), tmp_path / "v", CONFIG, log=log)
    assert caught.value.key == "--backbone"
    other = shutil.copytree(backbone, tmp_path / "other")
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    ids = vocabulary["model"]["vocab"]
    ids["1"], ids["2"] = ids["2"], ids["1"]
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(BadInput, match=r"the tokens of a solution to p[0-9]+ as another text") as caught:
        train(labels, str(other), tmp_path / "v", CONFIG, log=log)
    assert caught.value.key == "--backbone"


def test_a_verifier_can_be_trained_further(backbone: Path, tmp_path: Path):
    first = train(rows(), str(backbone), tmp_path / "a", CONFIG, log=lambda line: None)
    gentle = replace(CONFIG, steps=1, lr=1e-9)
    second = train(rows(), str(tmp_path / "a"), tmp_path / "b", gentle, log=lambda line: None)
    assert first is not None
    assert second is not None
    assert second.bce == pytest.approx(first.bce, abs=1e-5)


def test_the_learning_rate_rises_stays_and_falls():
    schedule = Schedule(steps=10, warmup=4, decay=0.3)
    factors = [schedule.factor(step) for step in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])
    assert [Schedule(steps=3, warmup=0).factor(step) for step in range(3)] == [1, 1, 1]


def test_problems_are_held_out_whole():
    learn, held = split(rows(), 0.25, seed=0)
    assert len(learn) + len(held) == 240
    assert not {row.problem for row in learn} & {row.problem for row in held}
    with pytest.raises(BadInput, match="too few"):
        split(rows(problems=1), 0.25, seed=0)


def test_scores_are_probabilities(backbone: Path):
    model = new_verifier(str(backbone), [])
    model.score.weight.data *= 1e4
    with torch.inference_mode():
        said = scores(model.eval(), torch.tensor([[1, 2, 3, 4]]))
    assert said.min() >= 0
    assert said.max() <= 1


def test_the_command_trains_and_says_how_good_it_is(
    backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    labels, out = tmp_path / "labels.parquet", tmp_path / "v"
    write_labels(rows(), labels)
    command = ["verifier", "train", str(labels), "--backbone", str(backbone), "--out", str(out)]
    options = ["--steps", "4", "--held-out", "0.3", "--freeze", "all", "--no-tracking"]
    assert run_command([*command, *options]) == 0
    assert "AUC" in capsys.readouterr().out
    kept = json.loads((out / MEASURES_FILE).read_text())["training"]
    assert (kept["steps"], kept["held_out"], kept["freeze"], kept["lr"]) == (4, 0.3, -1, 3e-5)
    for bad, words in (
        (["--freeze", "5"], "--freeze: 5 is not usable; allowed: 0 to 2"),
        (["--lr", "nan"], "--lr: nan is not usable"),
        (["--backbone", str(tmp_path / "none")], "--backbone"),
        (["--backbone", str(out), "--extra-layers", "1"], "--extra-layers: 1 is not usable"),
    ):
        assert run_command([*command, *options, "--out", str(tmp_path / "w"), *bad]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    labels.write_text("no parquet")
    assert run_command([*command, *options]) == 2


def test_auc():
    labels = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), labels) == 1.0
    assert auc(np.array([0.9, 0.2, 0.8, 0.2]), labels) == 0.625
    assert math.isnan(auc(np.array([0.5, 0.5]), np.array([True, True])))
    # Scores that know only which problem is hard: pooled AUC is high, within a problem it is chance.
    said = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1]])
    good = np.array([[True, True, True, False], [True, False, False, False]])
    assert auc(said.ravel(), good.ravel()) == 0.75
    assert within_problem_auc(zip(said, good, strict=True)) == 0.5


def test_calibration():
    table = reliability(np.array([0.05, 0.15, 0.95, 1.0]), np.array([0.0, 0.5, 1.0, 0.5]))
    assert table == [Bin(1, 0.05, 0.0), Bin(1, 0.15, 0.5), Bin(2, 0.975, 0.75)]
    assert calibration_error(table) == pytest.approx((0.05 + 0.35 + 2 * 0.225) / 4)
