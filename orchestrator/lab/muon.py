"""Muon in float32: the momentum of each matrix is orthogonalised (Jordan et al. 2024).

``torch.optim.Muon`` orthogonalises in bfloat16, which a CPU without bfloat16 instructions emulates slowly.
Here all matrices of one shape are orthogonalised together, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic that takes singular values towards one."""
ITERATIONS = 5


class Muon(Optimizer):
    """Muon with Nesterov momentum.

    An update has a spectral norm of about ``lr``, times √(rows/columns) for a tall matrix.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Updates every matrix that has a gradient. A closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in by_shape.items():
                update = orthogonal(torch.stack([self._momentum(matrix, group) for matrix in matrices]))
                rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
                for matrix, direction in zip(matrices, update, strict=True):
                    matrix.sub_(direction, alpha=rate)

    def _momentum(self, matrix: Tensor, group: dict[str, Any]) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        average = state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
        return matrix.grad.lerp(average, group["momentum"])


def orthogonal(matrices: Tensor) -> Tensor:
    """Returns for each of ``matrices`` [n, rows, columns] roughly the nearest orthogonal one.

    Newton-Schulz iterations bring the singular values to between 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def muon_and_adamw(model: nn.Module, muon_lr: float, adam_lr: float) -> list[Optimizer]:
    """Returns Muon for the matrices of the layers, and AdamW for embeddings, head, norms and biases."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim == 2 and ".layers." in name else rest).append(parameter)
    return [
        Muon(matrices, muon_lr),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
