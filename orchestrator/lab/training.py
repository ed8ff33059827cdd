"""The training loop the lab's models share: optimisers, schedule, resumption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orchestrator.errors import BadInput
from orchestrator.lab.muon import Muon


@dataclass(frozen=True, slots=True)
class Log:
    """Where a training says how it goes: ``line`` takes words, ``loss`` a step and the mean loss of those
    since the last."""

    line: Callable[[str], None] = print
    loss: Callable[[int, float], None] = lambda step, loss: None

    def __call__(self, line: str) -> None:
        self.line(line)


LOG = Log()
"""Words on the screen, no figures."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate as a factor of its peak: ``warmup`` steps up, flat, then linear to 0 over the last
    ``decay`` share of ``steps``."""

    steps: int
    warmup: int = 50
    decay: float = 0.4

    def factor(self, step: int) -> float:
        """The factor at ``step`` (from 0)."""
        up = (step + 1) / self.warmup if step < self.warmup else 1.0
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(up, 1.0, down)


def muon_and_adamw(model: nn.Module, muon_lr: float, adam_lr: float) -> list[Optimizer]:
    """Muon for the matrices inside layers, AdamW for embeddings, head, norms and biases."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim == 2 and ".layers." in name else rest).append(parameter)
    return [
        Muon(matrices, muon_lr),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def fit(
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    loss_of: Callable[[int], Tensor],
    schedule: Schedule,
    resume: Path,
    identity: str,
    minutes: float | None = None,
    log: Log = LOG,
    log_every: int = 50,
) -> list[float]:
    """Train ``model`` for ``schedule.steps`` steps; ``loss_of(step)`` must depend on the step alone.

    State is kept in the file ``resume`` (written each minute and at an early stop, removed at the end): a
    second call continues, or raises ``BadInput`` if the file is of another training (``identity``: recipe and
    seed). After ``minutes`` of this call training stops early,
    with the learning rate not yet decayed. Returns the losses of this call's steps.
    """
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    first = 0
    if resume.exists():
        state = torch.load(resume, weights_only=True)
        if state["identity"] != identity:
            raise BadInput(
                "lab.out", str(resume), f"it belongs to {state['identity']}; remove it or train elsewhere"
            )
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
        log(f"resumed at step {first}")

    def keep(step: int) -> None:
        resume.parent.mkdir(parents=True, exist_ok=True)
        partial = resume.with_suffix(".partial")
        states = [optimizer.state_dict() for optimizer in optimizers]
        values = {"identity": identity, "step": step, "model": model.state_dict(), "optimizers": states}
        torch.save(values, partial)
        partial.replace(resume)

    trained = [p for p in model.parameters() if p.requires_grad]
    losses: list[float] = []
    start = kept = time.monotonic()
    for step in range(first, schedule.steps):
        factor = schedule.factor(step)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = peak * factor
        loss = loss_of(step)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        now = time.monotonic()
        if (step + 1) % log_every == 0 or step + 1 == schedule.steps:
            recent = losses[-log_every:]
            mean = sum(recent) / len(recent)
            log(f"step {step + 1}/{schedule.steps}  loss {mean:.4f}  {now - start:.0f} s")
            log.loss(step + 1, mean)
        if minutes is not None and now - start > 60 * minutes and step + 1 < schedule.steps:
            keep(step + 1)
            log(f"stopped early at step {step + 1} after {minutes} minutes")
            return losses
        if now - kept > 60:
            keep(step + 1)
            kept = now
    resume.unlink(missing_ok=True)
    return losses
