"""Training of a verifier from labels, the paper's way (Snell et al., §5.1 and appendix D).

Binary cross-entropy on the soft labels at the last token of each step, AdamW, early stopping on problems
that were held out. An outcome reward model is the same with one labelled position a solution.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig

from orchestrator.errors import BadInput
from orchestrator.problems.codec import load_tokenizer
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.label import LabelledSolution
from orchestrator.verifiers.measures import Measures, cross_entropy, flat, measure, summary
from orchestrator.verifiers.model import logits, new_verifier, save_verifier

RESUME_FILE = "training.pt"
MEASURES_FILE = "measures.json"
COMPARED = 64
"""Rows whose tokens are compared with their text, over all of the labels."""

Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""Changes inputs (int64[n, length], padded with 0) so that their labels still hold."""
Track = Callable[[list[tuple[str, float, int]]], None]
"""Takes metrics: the name, the value and the training step of each."""


def train(
    rows: Sequence[LabelledSolution],
    backbone: str,
    out: Path,
    config: TrainConfig,
    *,
    augment: Augment | None = None,
    minutes: float | None = None,
    log: Callable[[str], None] = print,
    track: Track = lambda metrics: None,
) -> Measures | None:
    """Train a verifier on ``rows`` from the language model ``backbone``; write it to directory ``out``, with
    its measures in ``measures.json``.

    A function of (rows, backbone, config) on one machine. It stops after ``minutes`` (None is returned
    then); the same call goes on, also after a kill (state is kept each minute in ``out``). Raises BadInput
    for a backbone that does not fit, or has other tokens than the labels; for labels of too few problems; for
    an ``out`` of another training.
    """
    config.check()
    check_tokens(rows, backbone)
    learn, held = split(rows, config.held_out, config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = [torch.tensor(row.tokens) for row in learn]
    model = new_verifier(
        backbone,
        inputs[:64],
        extra_layers=config.extra_layers,
        freeze=None if config.freeze < 0 else config.freeze,
        dropout=config.dropout,
        seed=config.seed,
    ).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.lr, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    state = _State(out / RESUME_FILE, _identity(rows, backbone, config), model, optimizer)
    if state.resume():
        log(f"resumed at step {state.step}")
    log(
        f"{len(learn)} solutions to learn from, {len(held)} held out; "
        f"{sum(p.numel() for p in model.parameters())} parameters, {sum(p.numel() for p in trained)} trained"
    )
    began = kept = time.monotonic()
    while state.step < config.steps and state.worse < config.patience:
        for group in optimizer.param_groups:
            group["lr"] = config.lr * config.factor(state.step)
        rng = np.random.default_rng([config.seed, state.step])
        chosen = rng.choice(len(learn), min(config.batch, len(learn)), replace=False)
        batch = [learn[i] for i in chosen]
        state.losses.append(_update(model, optimizer, trained, batch, config.micro, augment, rng))
        state.step += 1
        if state.step % config.every == 0 or state.step == config.steps:
            loss = sum(state.losses) / len(state.losses)
            state.losses.clear()
            bce = cross_entropy(*flat(held, predict(model, held, config.micro)))
            state.keep_best(bce)
            log(f"step {state.step}  loss {loss:.4f}  held out {bce:.4f}  {time.monotonic() - began:.0f} s")
            track([("loss", loss, state.step), ("held_out_bce", bce, state.step)])
        if minutes is not None and time.monotonic() - began > 60 * minutes and state.step < config.steps:
            state.save()
            log(f"stopped at step {state.step} after {minutes:g} minutes; the same command goes on")
            return None
        if time.monotonic() - kept > 60:
            state.save()
            kept = time.monotonic()
    state.restore_best()
    measures = measure(held, predict(model, held, config.micro))
    track([(name, value, state.best_step) for name, value in summary(measures).items()])
    save_verifier(model.cpu(), out, backbone)
    record = {"training": asdict(config), "best_step": state.best_step, "held_out": asdict(measures)}
    (out / MEASURES_FILE).write_text(json.dumps(record, indent=1) + "\n")
    state.file.unlink(missing_ok=True)
    return measures


def check_tokens(rows: Sequence[LabelledSolution], backbone: str) -> None:
    """Raises BadInput that names ``--backbone`` where a row has a token that it does not, or where its
    tokenizer reads the tokens of some rows as another text than theirs."""
    tokenizer = load_tokenizer(backbone, key="--backbone")
    known = AutoConfig.from_pretrained(backbone).vocab_size
    needed = "needed: a model with the tokenizer of the generator that wrote the labels"
    if (largest := max(max(row.tokens) for row in rows)) >= known:
        unknown = f"it has {known} tokens, and the labels have token {largest}"
        raise BadInput("--backbone", backbone, f"{unknown}; {needed}")
    written = [row for row in rows if row.steps]
    for row in written[:: math.ceil(len(written) / COMPARED) or 1]:
        ends = itertools.pairwise((0, *row.step_ends))  # the first piece is the prompt and a step
        read = [tokenizer.decode(list(row.tokens[a:b]), skip_special_tokens=True) for a, b in ends]
        if _letters(read) != _letters([row.prompt, *row.steps]):
            other = f"its tokenizer reads the tokens of a solution to {row.problem} as another text"
            raise BadInput("--backbone", backbone, f"{other}; {needed}")


def _letters(pieces: Sequence[str]) -> str:
    """Without spaces: where a piece begins, decoders differ about them."""
    return "".join("".join(pieces).split())


def split(
    rows: Sequence[LabelledSolution], share: float, seed: int
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """(to learn from, held out): about ``share`` of the problems, by a hash of their id, are held out.
    Raises BadInput where one of the two would be empty."""

    def is_held(problem: str) -> bool:
        digest = hashlib.sha256(f"{seed}\0{problem}".encode()).digest()
        return int.from_bytes(digest[:8]) < share * 2**64

    held = {problem: is_held(problem) for problem in {row.problem for row in rows}}
    if all(held.values()) or not any(held.values()):
        raise BadInput("labels", f"{len(held)} problems", f"too few to hold out a share of {share:g}")
    return [r for r in rows if not held[r.problem]], [r for r in rows if held[r.problem]]


@torch.inference_mode()
def predict(model: Any, rows: Sequence[LabelledSolution], micro: int) -> list[np.ndarray]:
    """The scores at each row's labelled positions, float64[positions]."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), micro):
        some = order[start : start + micro]
        tokens = pad_sequence([torch.tensor(rows[i].tokens) for i in some], batch_first=True)
        said = logits(model, tokens.to(model.device)).double().sigmoid().cpu().numpy()
        found |= {i: said[k, np.array(rows[i].step_ends) - 1] for k, i in enumerate(some)}
    return [found[i] for i in range(len(rows))]


def _update(
    model: Any,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[nn.Parameter],
    batch: Sequence[LabelledSolution],
    micro: int,
    augment: Augment | None,
    rng: np.random.Generator,
) -> float:
    """One step of the optimiser on ``batch``, ``micro`` of it at once; the mean loss over its labels."""
    model.train()
    torch.manual_seed(int(rng.integers(2**63)))  # of the dropout: a training that goes on is the same
    total, count = 0.0, sum(len(row.labels) for row in batch)
    batch = sorted(batch, key=lambda row: len(row.tokens))  # so that little is padded
    for start in range(0, len(batch), micro):
        some = batch[start : start + micro]
        tokens = pad_sequence([torch.tensor(row.tokens) for row in some], batch_first=True)
        if augment is not None:
            tokens = augment(tokens, rng)
        row = torch.tensor([i for i, each in enumerate(some) for _ in each.labels])
        at = torch.tensor([end - 1 for each in some for end in each.step_ends])
        labels = torch.tensor(
            [label for each in some for label in each.labels], dtype=torch.float32, device=model.device
        )
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            said = logits(model, tokens.to(model.device))[row, at].float()
        loss = F.binary_cross_entropy_with_logits(said, labels, reduction="sum") / count
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


class _State:
    """Where a training is: kept in a file, so that it goes on where it was."""

    def __init__(self, file: Path, identity: str, model: Any, optimizer: torch.optim.Optimizer) -> None:
        self.file = file
        self.step = self.worse = self.best_step = 0
        self.best = float("inf")
        self.losses: list[float] = []
        self._identity, self._model, self._optimizer = identity, model, optimizer
        self._best_weights: dict[str, Tensor] = {}

    def keep_best(self, bce: float) -> None:
        self.worse += 1
        if bce < self.best:
            self.best, self.best_step, self.worse = bce, self.step, 0
            self._best_weights = {name: weight.clone() for name, weight in self._weights().items()}

    def restore_best(self) -> None:
        self._model.load_state_dict(self._best_weights, strict=False)

    def resume(self) -> bool:
        """Go to where the file is, if there is one. Raises BadInput if it is of another training."""
        if not self.file.exists():
            return False
        saved = torch.load(self.file, weights_only=True)
        if saved["identity"] != self._identity:
            raise BadInput(
                "--out", str(self.file.parent), "it holds another training; remove it or go elsewhere"
            )
        self._model.load_state_dict(saved["weights"], strict=False)
        self._optimizer.load_state_dict(saved["optimizer"])
        self._best_weights = saved["best_weights"]
        for name in ("step", "worse", "best_step", "best", "losses"):
            setattr(self, name, saved[name])
        return True

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        numbers = {name: getattr(self, name) for name in ("step", "worse", "best_step", "best", "losses")}
        weights = {"weights": self._weights(), "best_weights": self._best_weights}
        torch.save(
            {"identity": self._identity, "optimizer": self._optimizer.state_dict(), **weights, **numbers},
            partial,
        )
        partial.replace(self.file)

    def _weights(self) -> dict[str, Tensor]:
        """The trained ones: the others are the backbone's."""
        return {name: p.detach() for name, p in self._model.named_parameters() if p.requires_grad}


def _identity(rows: Sequence[LabelledSolution], backbone: str, config: TrainConfig) -> str:
    sha = hashlib.sha256(f"{config}\0{Path(backbone).name}".encode())
    for row in rows:
        sha.update(repr((row.problem, row.tokens, row.step_ends, row.labels)).encode())
    return sha.hexdigest()
