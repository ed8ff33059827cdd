"""The options of a training."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import BadInput


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of each step, as a share of its peak: it rises, stays, and falls linearly to 0."""

    steps: int
    """Steps of the whole training."""
    warmup: int = 50
    """First steps, in which the rate rises."""
    decay: float = 0.0
    """Share of the steps, the last ones, in which the rate falls."""

    def factor(self, step: int) -> float:
        """Returns the share at ``step``, which counts from 0."""
        up = (step + 1) / max(1, self.warmup)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, up, down)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The options of a verifier's training.

    The defaults are those of Snell et al. 2024, appendix D, where it gives them.
    """

    steps: int = 2000
    """Steps at most: early stopping may end the training before."""
    batch: int = 128
    """Solutions a step."""
    micro: int = 128
    """Solutions in a forward pass: the gradients of a step's passes are added up."""
    lr: float = 3e-5
    """Peak learning rate of AdamW."""
    beta1: float = 0.9
    """Decay of the mean gradient in AdamW."""
    beta2: float = 0.95
    """Decay of the mean squared gradient in AdamW."""
    weight_decay: float = 0.0
    """Share of a weight that AdamW takes off, times the learning rate, a step."""
    dropout: float = 0.05
    """Dropout before the head."""
    warmup: int = 50
    """First steps, in which the learning rate rises."""
    decay: float = 0.0
    """Share of the steps, the last ones, in which the learning rate falls to 0."""
    extra_layers: int = 0
    """New layers on top of the backbone's."""
    freeze: int = 0
    """Layers of the backbone that stay as they are, from the first, with the embedding; -1 is all of them."""
    held_out: float = 0.1
    """Share of the problems that is held out."""
    every: int = 50
    """Steps between two measurements of the held-out loss."""
    patience: int = 5
    """Measurements in a row without a lower held-out loss that end the training."""
    seed: int = 0
    """Number from which the division, the order, the dropout and the first weights are derived."""

    @property
    def schedule(self) -> Schedule:
        """The schedule of the learning rate."""
        return Schedule(self.steps, self.warmup, self.decay)

    def check(self) -> None:
        """Raises ``BadInput`` that names an option whose value is not allowed."""
        for name in ("steps", "batch", "micro", "every", "patience"):
            self._in(name, 1, float("inf"), "1 or more")
        for name in ("warmup", "weight_decay", "extra_layers", "seed"):
            self._in(name, 0, float("inf"), "0 or more")
        for name in ("beta1", "beta2", "dropout"):
            self._in(name, 0, 0.9999999, "0 or more, below 1")
        self._in("decay", 0, 1, "0 to 1")
        self._in("lr", 1e-12, 1e3, "a positive number")
        self._in("held_out", 1e-9, 0.9999999, "above 0, below 1")

    def _in(self, name: str, least: float, most: float, allowed: str) -> None:
        value = getattr(self, name)
        if not least <= value <= most:  # so written, it refuses NaN too
            raise BadInput("--" + name.replace("_", "-"), value, f"allowed: {allowed}")
