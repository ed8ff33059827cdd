"""Trains a verifier from labels (Snell et al. 2024, section 5.1 and appendix D).

The loss is binary cross-entropy on the soft labels at the last token of each step; the optimizer is AdamW;
training stops early on held-out problems. An outcome reward model has one labelled position a solution.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig

from orchestrator.errors import BadInput
from orchestrator.problems.codec import load_tokenizer
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.inputs import Inputs
from orchestrator.verifiers.label import LabelledSolution
from orchestrator.verifiers.measures import Measures, cross_entropy, flat, measure, summary
from orchestrator.verifiers.model import new_verifier, save_verifier
from orchestrator.verifiers.training import RESUME_FILE, EarlyStopping, Track, fit

MEASURES_FILE = "measures.json"
COMPARED = 64
"""Rows whose tokens are compared with their text, spread over all labels."""

Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""Changes inputs (int64[n, length], padded with 0) so that their labels still hold."""


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
    """Trains a verifier on ``rows`` from ``backbone``, writes it to directory ``out``, returns its measures.

    The measures are also in ``out``/measures.json. The weights depend on (rows, backbone, config) alone, on
    one machine. After ``minutes`` it returns None; the same call continues, also after a kill.

    Raises ``BadInput`` if the backbone does not fit or has other tokens than the labels, if the labels have
    too few problems, or if ``out`` holds another training.
    """
    config.check()
    check_tokens(rows, backbone)
    learn, held = split(rows, config.held_out, config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = new_verifier(
        backbone,
        [torch.tensor(row.tokens) for row in learn[:64]],
        extra_layers=config.extra_layers,
        freeze=None if config.freeze < 0 else config.freeze,
        dropout=config.dropout,
        seed=config.seed,
    ).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.lr, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    log(
        f"{len(learn)} solutions to learn from, {len(held)} held out; "
        f"{sum(p.numel() for p in model.parameters())} parameters, {sum(p.numel() for p in trained)} trained"
    )
    inputs = Inputs.of(model, [*learn, *held], change=augment is not None)

    def held_out() -> list[np.ndarray]:
        return _scores(inputs, held, len(learn), config.micro)

    fitted = fit(
        model,
        [optimizer],
        lambda step: _losses(inputs, learn, config, augment, step),
        config.schedule,
        out,
        _identity(rows, backbone, config),
        every=config.every,
        early_stopping=EarlyStopping(lambda: cross_entropy(*flat(held, held_out())), config.patience),
        minutes=minutes,
        log=log,
        track=track,
    )
    if not fitted.finished:
        return None
    measures = measure(held, held_out())
    track([(name, value, fitted.best_step) for name, value in summary(measures).items()])
    save_verifier(model.cpu(), out, backbone)
    record = {"training": asdict(config), "best_step": fitted.best_step, "held_out": asdict(measures)}
    (out / MEASURES_FILE).write_text(json.dumps(record, indent=1) + "\n")
    (out / RESUME_FILE).unlink(missing_ok=True)
    return measures


def check_tokens(rows: Sequence[LabelledSolution], backbone: str) -> None:
    """Raises ``BadInput`` if a backbone's vocabulary is not that of the labels.

    A token of a row may be missing in it, or its tokenizer may read the tokens of a row as another text.
    """
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
    """Returns the text without spaces: decoders differ about spaces where a piece begins."""
    return "".join("".join(pieces).split())


def split(
    rows: Sequence[LabelledSolution], share: float, seed: int
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """Returns the rows to learn from and the held-out rows.

    About ``share`` of the problems are held out, by a hash of their id. Raises ``BadInput`` if one of the two
    would be empty.
    """

    def is_held(problem: str) -> bool:
        digest = hashlib.sha256(f"{seed}\0{problem}".encode()).digest()
        return int.from_bytes(digest[:8]) < share * 2**64

    held = {problem: is_held(problem) for problem in {row.problem for row in rows}}
    if all(held.values()) or not any(held.values()):
        raise BadInput("labels", f"{len(held)} problems", f"too few to hold out a share of {share:g}")
    return [r for r in rows if not held[r.problem]], [r for r in rows if held[r.problem]]


def predict(model: Any, rows: Sequence[LabelledSolution], micro: int) -> list[np.ndarray]:
    """Returns for each row the scores at its labelled positions, float64[positions]."""
    with torch.inference_mode():
        return _scores(Inputs.of(model, rows), rows, 0, micro)


@torch.inference_mode()
def _scores(inputs: Inputs, rows: Sequence[LabelledSolution], first: int, micro: int) -> list[np.ndarray]:
    """Returns the scores of ``rows``, which are those of the inputs from number ``first`` on."""
    inputs.model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), micro):
        batch = order[start : start + micro]
        scores = inputs.logits([first + i for i in batch]).double().sigmoid().cpu().numpy()
        ends = [np.array(rows[i].step_ends) - 1 - len(inputs.shared) for i in batch]
        found |= {i: scores[k, ends[k]] for k, i in enumerate(batch)}
    return [found[i] for i in range(len(rows))]


def _losses(
    inputs: Inputs, learn: Sequence[LabelledSolution], config: TrainConfig, augment: Augment | None, step: int
) -> Iterator[Tensor]:
    """Yields the loss of a step's batch in parts of ``config.micro`` solutions; it is a mean over labels."""
    rng = np.random.default_rng([config.seed, step])
    drawn = rng.choice(len(learn), min(config.batch, len(learn)), replace=False)
    torch.manual_seed(int(rng.integers(2**63)))  # of the dropout, so that a step depends on its number alone
    count = sum(len(learn[i].labels) for i in drawn)
    order = sorted(map(int, drawn), key=lambda i: len(learn[i].tokens))  # so that little is padded
    model = inputs.model.train()

    def change(padded: Tensor) -> Tensor:
        return padded if augment is None else augment(padded, rng)

    for start in range(0, len(order), config.micro):
        part = order[start : start + config.micro]
        rows = [learn[i] for i in part]
        row_index = torch.tensor([i for i, row in enumerate(rows) for _ in row.labels])
        position = torch.tensor([end - 1 - len(inputs.shared) for row in rows for end in row.step_ends])
        labels = torch.tensor(
            [label for row in rows for label in row.labels], dtype=torch.float32, device=model.device
        )
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            found = inputs.logits(part, change)[row_index, position].float()
        yield F.binary_cross_entropy_with_logits(found, labels, reduction="sum") / count


def _identity(rows: Sequence[LabelledSolution], backbone: str, config: TrainConfig) -> str:
    """Returns a digest of everything that the trained weights depend on."""
    sha = hashlib.sha256(f"{config}\0{Path(backbone).name}".encode())
    for row in rows:
        sha.update(repr((row.problem, row.tokens, row.step_ends, row.labels)).encode())
    return f"labels and options {sha.hexdigest()[:16]}"
