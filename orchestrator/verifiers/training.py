"""The training loop of every model here: schedule, clipping, resumption, early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orchestrator.errors import BadInput
from orchestrator.verifiers.config import Schedule

RESUME_FILE = "training.pt"

Track = Callable[[list[tuple[str, float, int]]], None]
"""Takes metrics: the name, the value and the training step of each."""


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Ends a training whose loss on held-out data no longer falls, and keeps the best weights."""

    loss: Callable[[], float]
    """Measures the model's loss on the held-out data."""
    patience: int
    """Measurements in a row without a lower loss that end the training."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of a call of ``fit``."""

    finished: bool
    """False where ``minutes`` ended the call first."""
    losses: list[float]
    """The loss of each of this call's steps."""
    best_step: int
    """The step of the lowest held-out loss; 0 without early stopping."""


def fit(
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    loss_of: Callable[[int], Iterable[Tensor]],
    schedule: Schedule,
    out: Path,
    identity: str,
    *,
    every: int = 50,
    early_stopping: EarlyStopping | None = None,
    minutes: float | None = None,
    log: Callable[[str], None] = print,
    track: Track = lambda metrics: None,
) -> Fit:
    """Trains ``model`` for ``schedule.steps`` steps, or until early stopping ends it.

    ``loss_of(step)`` yields the step's loss in parts, whose gradients are added up; it depends on the step
    alone, so that a training that was interrupted ends with the same weights. Gradients are clipped to a norm
    of 1. The losses are logged, and the held-out loss is measured, each ``every`` steps.

    The state is kept in ``out``/training.pt each minute and when the call ends after ``minutes``, with the
    learning rate not decayed; the next call continues from it. The caller removes the file once the trained
    model is saved. Raises ``BadInput`` if the file belongs to a training with another ``identity``.
    """
    state = _State(out / RESUME_FILE, identity, model, optimizers)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    if state.resume():
        log(f"resumed at step {state.step}")
    patience = early_stopping.patience if early_stopping else 1
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses: list[float] = []
    start = kept = time.monotonic()
    while state.step < schedule.steps and state.worse < patience:
        factor = schedule.factor(state.step)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = peak * factor
        model.train()
        loss = 0.0
        for part in loss_of(state.step):
            part.backward()
            loss += part.item()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        state.unlogged.append(loss)
        state.step += 1
        now = time.monotonic()
        if state.step % every == 0 or state.step == schedule.steps:
            metrics = {"loss": sum(state.unlogged) / len(state.unlogged)}
            state.unlogged.clear()
            if early_stopping:
                metrics["held_out_bce"] = early_stopping.loss()
                state.keep_best(metrics["held_out_bce"])
            values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            log(f"step {state.step}/{schedule.steps}  {values}  {now - start:.0f} s")
            track([(name, value, state.step) for name, value in metrics.items()])
        if minutes is not None and now - start > 60 * minutes and state.step < schedule.steps:
            state.save()
            log(f"stopped at step {state.step} after {minutes:g} minutes; the same command continues")
            return Fit(False, losses, state.best_step)
        if now - kept > 60:
            state.save()
            kept = now
    if early_stopping:
        state.restore_best()
    return Fit(True, losses, state.best_step)


class _State:
    """The state of a training, which a file keeps."""

    _NUMBERS = ("step", "worse", "best_step", "best", "unlogged")

    def __init__(self, file: Path, identity: str, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self.step = self.worse = self.best_step = 0
        self.best = float("inf")
        self.unlogged: list[float] = []
        self._file, self._identity, self._model, self._optimizers = file, identity, model, optimizers
        self._best_weights: dict[str, Tensor] = {}

    def keep_best(self, loss: float) -> None:
        self.worse += 1
        if loss < self.best:
            self.best, self.best_step, self.worse = loss, self.step, 0
            self._best_weights = {name: weight.clone() for name, weight in self._weights().items()}

    def restore_best(self) -> None:
        self._model.load_state_dict(self._best_weights, strict=False)

    def resume(self) -> bool:
        """Loads the file if it exists. Raises ``BadInput`` if it belongs to another training."""
        if not self._file.exists():
            return False
        saved = torch.load(self._file, weights_only=True)
        if saved["identity"] != self._identity:
            raise BadInput(
                "out",
                str(self._file.parent),
                f"it holds another training ({saved['identity']}); remove it or train elsewhere",
            )
        self._model.load_state_dict(saved["weights"], strict=False)
        for optimizer, values in zip(self._optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self._best_weights = saved["best_weights"]
        for name in self._NUMBERS:
            setattr(self, name, saved[name])
        return True

    def save(self) -> None:
        values = {
            "identity": self._identity,
            "weights": self._weights(),
            "best_weights": self._best_weights,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            **{name: getattr(self, name) for name in self._NUMBERS},
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        torch.save(values, partial)
        partial.replace(self._file)

    def _weights(self) -> dict[str, Tensor]:
        """Returns the trained weights: the others are as they were read."""
        return {name: p.detach() for name, p in self._model.named_parameters() if p.requires_grad}
