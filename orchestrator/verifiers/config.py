"""How a verifier is trained."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import BadInput


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The options of a training; the defaults are the paper's where it gives one (Snell et al., appendix D).

    ``steps`` is the most; training ends when ``patience`` measurements in a row, one each ``every`` steps,
    have not lowered the loss on the held-out share of the problems. The learning rate rises over ``warmup``
    steps, and falls to 0 over the last ``decay`` share of ``steps``. ``micro`` inputs are run at once.
    ``extra_layers``, ``freeze`` (-1: all layers) and ``dropout``: see ``model.new_verifier``.
    """

    steps: int = 2000
    batch: int = 128
    micro: int = 128
    lr: float = 3e-5
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    dropout: float = 0.05
    warmup: int = 50
    decay: float = 0.0
    extra_layers: int = 0
    freeze: int = 0
    held_out: float = 0.1
    every: int = 50
    patience: int = 5
    seed: int = 0

    def factor(self, step: int) -> float:
        """The learning rate of ``step`` (from 0) over its peak."""
        up = (step + 1) / max(1, self.warmup)
        down = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return min(1.0, up, down)

    def check(self) -> None:
        """Raises BadInput that names the option which cannot be."""
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
