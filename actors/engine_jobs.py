"""The jobs that a replica gives its engine, and their outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Job:
    """One request as the engine gets it."""

    key: str
    """Unique for the life of the process."""
    prompt: list[int]
    params: Any
    """vLLM's ``SamplingParams`` or ``PoolingParams``."""
    request: Any
    """Comes back with the outcome."""
    priority: int = 0
    """A lower number is scheduled first."""
    spent: int = 0
    """Tokens that earlier attempts at the same request computed."""
    logprobs: tuple[float, ...] = ()
    """The log-probabilities of the tokens at the prompt's end that earlier pieces of the request sampled."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished sample."""

    job: Job
    tokens: tuple[int, ...]
    """All new token ids."""
    finish: str
    """vLLM's finish reason."""
    stop: int | str | None
    """The stop token id or stop string; None at the model's end-of-sequence token."""
    ran: int
    """Tokens that were scheduled for the job."""
    logprobs: tuple[float, ...] = ()
    """The log-probability of each token; empty where it was not asked for."""

    @property
    def computed_tokens(self) -> int:
        """The tokens that the engine ran: the uncached prompt, the new ones but the last, and those computed
        again after a preemption (or in vain, where steps are scheduled ahead)."""
        return self.job.spent + self.ran


@dataclass(frozen=True, slots=True)
class Pooled:
    """The head's outputs for the tokens of a prompt."""

    job: Job
    rows: torch.Tensor
    """Raw logits, ``float[len(prompt) - cached_tokens, labels]``: the cached prefix has no rows."""
    cached_tokens: int
    ran: int
    """Tokens that were scheduled for the job."""

    @property
    def computed_tokens(self) -> int:
        """The tokens that the engine ran, with those computed again after a preemption."""
        return self.job.spent + self.ran


@dataclass(frozen=True, slots=True)
class Refused:
    """A job that the engine can never run."""

    job: Job
    error: str
    """The reason in one line."""


JobOutcome = Generated | Pooled | Refused
