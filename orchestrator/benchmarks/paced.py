"""Paced engines: every step of a real engine takes the seconds of a modelled accelerator.

On the cores of one machine, engines, controller and Ray take time from each other, which they do not where
models run on devices of their own. A paced engine runs its model as always, so that the results are real;
then it sleeps until the step has taken the time of a larger model on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

WORKER = "orchestrator.benchmarks.paced_worker.PacedWorker"


@dataclass(frozen=True)
class Device:
    """An accelerator's sustained speed."""

    name: str
    flops: float
    """FLOPs a second, in matrix products of 16 bits."""
    bandwidth: float
    """Bytes of its memory a second."""

    def seconds(self, parameters: float, tokens: int) -> float:
        """Returns the seconds of an engine's step of ``tokens`` tokens by the roofline: it reads the weights
        once (2 bytes each) or computes 2 FLOPs per weight and token, whichever takes longer. Attention, which
        is little at contexts of hundreds of tokens, is left out."""
        return max(2 * parameters / self.bandwidth, 2 * parameters * tokens / self.flops)


A10G = Device("A10G", 0.6 * 70e12, 0.8 * 600e9)
"""60 % of the FLOPs and 80 % of the bandwidth of its data sheet."""

PACED: Final[dict[str, Any]] = {
    "default": (),
    "type": float,
    "metavar": "PARAMETERS",
    "help": f"pace the engines as models of so many parameters, each on an {A10G.name} of its own",
}
"""Arguments of a benchmark's option ``--paced``: parameters of the generator, then of the verifier."""


def paced(generator: float | None = None, verifier: float | None = None) -> list[str]:
    """Returns the overrides that pace the engines as models of so many parameters (None: not paced)."""
    overrides: list[str] = []
    for pool, parameters in (("generator", generator), ("verifier", verifier)):
        if parameters is not None:
            model = f"parameters: {parameters}, flops: {A10G.flops}, bandwidth: {A10G.bandwidth}"
            overrides.append(f"{pool}.engine.worker_cls={WORKER}")
            overrides.append(f"{pool}.engine.additional_config={{{model}}}")
    return overrides
