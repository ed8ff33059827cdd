"""What a run samples beside its search, without any search: the baseline that the search is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.analysis.estimators import Estimate


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
