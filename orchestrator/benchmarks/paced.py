"""Engines paced as on an accelerator: every step of a real engine takes the seconds of a modelled device.

On the cores of one machine, engines, controller and Ray take time from each other, which they do not where
models run on devices of their own. A paced engine runs its model as ever, so that all that is found is what
the model says; then it sleeps until the step has taken what a model of so many parameters needs on the
device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

WORKER = "orchestrator.benchmarks.paced_worker.PacedWorker"


@dataclass(frozen=True)
class Device:
    """What an accelerator sustains."""

    name: str
    flops: float
    """a second, in matrix products of 16 bits"""
    bandwidth: float
    """bytes of its memory a second"""

    def seconds(self, parameters: float, tokens: int) -> float:
        """Of an engine's step that computes ``tokens``, by the roofline: it reads the weights once (2 bytes
        each) and computes 2 FLOPs per weight and token, whichever takes longer. Attention, which is little at
        contexts of hundreds of tokens, is left out."""
        return max(2 * parameters / self.bandwidth, 2 * parameters * tokens / self.flops)


A10G = Device("A10G", 0.6 * 70e12, 0.8 * 600e9)
"""60 % of the FLOPs and 80 % of the bandwidth of its data sheet."""

PACED: Final[dict[str, Any]] = {
    "default": (),
    "type": float,
    "metavar": "PARAMETERS",
    "help": f"engines take the time of models of so many parameters, each on an {A10G.name} of its own",
}
"""A benchmark's option ``--paced``: of its generators, then of its verifiers."""


def paced(generator: float | None = None, verifier: float | None = None) -> list[str]:
    """The configuration's overrides for engines of models of so many parameters; None: as they are."""
    overrides: list[str] = []
    for pool, parameters in (("generator", generator), ("verifier", verifier)):
        if parameters is not None:
            model = f"parameters: {parameters}, flops: {A10G.flops}, bandwidth: {A10G.bandwidth}"
            overrides.append(f"{pool}.engine.worker_cls={WORKER}")
            overrides.append(f"{pool}.engine.additional_config={{{model}}}")
    return overrides
