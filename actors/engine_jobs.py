"""What a replica asks of its engine, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Job:
    """One request as the engine sees it. ``key`` is unique for the life of the process; ``request``
    comes back with the outcome; a lower ``priority`` is scheduled first; ``spent`` counts the tokens
    that earlier attempts at the same request computed."""

    key: str
    prompt: list[int]
    params: Any
    request: Any
    priority: int = 0
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished sample: all new token ids, and vLLM's finish and stop reasons.

    ``stop`` is None at the model's end-of-sequence token, else the stop token id or stop string.
    """

    job: Job
    tokens: tuple[int, ...]
    finish: str
    stop: int | str | None
    ran: int
    """Tokens of its steps."""

    @property
    def computed_tokens(self) -> int:
        """Tokens the scheduler ran: the uncached prompt, new tokens less the last, and what was computed
        again after a preemption (or, where steps are scheduled ahead, for nothing)."""
        return self.job.spent + self.ran


@dataclass(frozen=True, slots=True)
class Pooled:
    """Head outputs ``rows`` [len(prompt) - cached_tokens, labels], raw logits: the cached prefix of the
    prompt has no rows."""

    job: Job
    rows: torch.Tensor
    cached_tokens: int
    ran: int
    """Tokens of its steps."""

    @property
    def computed_tokens(self) -> int:
        """Tokens the scheduler ran, also those that were computed again after a preemption."""
        return self.job.spent + self.ran


@dataclass(frozen=True, slots=True)
class Refused:
    """A request the engine will never run, and why, in one line."""

    job: Job
    error: str


JobOutcome = Generated | Pooled | Refused
