"""What a run samples beside its search, without any search: the baseline that the search is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.estimators import Estimate, Floats

COLUMNS = ("baseline_one", "baseline_majority")
"""Columns of a run's table of results, as in ``BaselineByProblem``."""


@dataclass(frozen=True)
class Baseline:
    """What independent samples reach, with 95 % intervals. A problem whose sampling failed is wrong."""

    samples: int
    """Samples of each problem."""
    one: Estimate
    """The accuracy of one sample: the mean over problems of the share that is right."""
    majority: Estimate
    """The accuracy of the majority of all samples (Wilson)."""
    flops: int
    """FLOPs charged for all samples of all problems, beside the budget."""
    one_flops: float
    """FLOPs of one sample of one problem, its prompt included, on average."""
    majority_flops: float
    """FLOPs of all samples of one problem, on average."""


@dataclass(frozen=True, eq=False)
class BaselineByProblem:
    """What independent samples reach on each problem: with it, a search is compared problem by problem."""

    one: Floats
    """The share of the samples that is right."""
    majority: npt.NDArray[np.bool_]
    """Whether the majority of all samples is right."""

    def only(self, index: npt.NDArray[np.int64]) -> BaselineByProblem:
        """Returns it for these of the problems."""
        return BaselineByProblem(self.one[index], self.majority[index])
