"""Muon: its updates are orthogonal, matrix by matrix, as those of torch's own."""

from __future__ import annotations

import pytest
import torch

from orchestrator.lab.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_orthogonal_keeps_the_directions_and_levels_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(shape[0], 8))
    v, _ = torch.linalg.qr(torch.randn(shape[1], 8))
    (found,) = orthogonal((u * torch.linspace(0.1, 1, 8)) @ v.T[None])
    between = u.T @ found @ v
    assert (between.diagonal() > 0.6).all()
    assert (between.diagonal() < 1.3).all()
    assert (between - between.diagonal().diag()).abs().max() < 1e-4


def test_matrices_of_one_shape_do_not_mix() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 6, 9)
    together = orthogonal(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        assert torch.allclose(orthogonal(matrix[None])[0], found, atol=1e-5)


def test_it_goes_where_torchs_muon_goes() -> None:
    torch.manual_seed(0)
    start = [torch.randn(6, 9), torch.randn(9, 6), torch.randn(6, 9)]
    gradients = [[torch.randn_like(each) for each in start] for _ in range(5)]

    def trained(make: type[torch.optim.Optimizer], **options: float) -> list[torch.Tensor]:
        matrices = [each.clone().requires_grad_() for each in start]
        optimizer = make(matrices, lr=0.1, **options)
        for step in gradients:
            for matrix, gradient in zip(matrices, step, strict=True):
                matrix.grad = gradient.clone()
            optimizer.step()
        return [each.detach() for each in matrices]

    ours, theirs = trained(Muon), trained(torch.optim.Muon, weight_decay=0.0)
    for mine, other, begin in zip(ours, theirs, start, strict=True):
        assert torch.allclose(mine - begin, other - begin, atol=0.02)  # theirs is in bfloat16
        assert (mine - begin).norm() > 0.5
