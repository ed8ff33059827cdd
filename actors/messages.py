"""Requests and results: the only things that cross a process border.

Text is token ids everywhere, so a child's prompt is its parent's tokens, bit for bit, and an engine's prefix
cache can reuse them. A result names its request by ``id``.

Requests and results are msgspec structs, which are faster to make and to pickle than frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Until = Literal["step", "thought", "end"]
"""Sampling stops at the next step delimiter, at the marker that ends the model's thinking, or at the end of
the solution."""

Finish = Literal["step", "thought", "end", "length"]
"""Sampling was stopped by the step delimiter, the marker, the end-of-sequence token, or ``max_tokens``."""


MAX_TEMPERATURE = 2.0
"""The highest temperature that vLLM, and servers of its kind, sample at."""

LOGPROB_DIGITS = 4
"""Digits of a log-probability after the point: more are noise of an engine's batches, and fill journals."""
LEAST_LOGPROB = -9999.0
"""Stands for what is less, as minus infinity: JSON has no such number."""


class SampleRequest(msgspec.Struct, frozen=True, gc=False):
    """Asks a generator to continue ``prompt`` by at most ``max_tokens`` tokens."""

    id: str
    prompt: tuple[int, ...]
    seed: int
    """Determines the sample where the engine is deterministic, so a retry elsewhere gives the same tokens."""
    max_tokens: int
    until: Until = "step"
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    affinity: str = ""
    """The same for requests that share a prefix (a problem); a pool prefers the replica that holds it."""
    priority: int = 0
    """A lower number is served first."""
    logprobs: bool = False
    """Whether the new tokens' log-probabilities are asked for."""


class SampleResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A sample that a generator has made."""

    id: str
    tokens: tuple[int, ...]
    """The new tokens only, with the step delimiter, marker or end-of-sequence token."""
    finish: Finish
    computed_tokens: int
    """The tokens that the engine ran: the prompt's that were not cached, the new ones but the last (which is
    never fed back), and those computed again after a preemption."""
    replica: str
    logprobs: tuple[float, ...] = ()
    """The log-probability of each new token under the model itself, before temperature and the other sampling
    values, to ``LOGPROB_DIGITS`` digits; empty where it was not asked for."""


class ScoreRequest(msgspec.Struct, frozen=True, gc=False):
    """Asks a verifier to score each step of a path."""

    id: str
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...]
    """Step ``i`` ends before position ``step_ends[i]`` of ``tokens``; increasing, the last is
    ``len(tokens)``."""
    affinity: str = ""
    """As in ``SampleRequest``."""
    priority: int = 0
    """A lower number is served first."""
    texts: tuple[str, ...] = ()
    """The problem and the steps, for a verifier that reads text and no tokens."""


class ScoreResult(msgspec.Struct, frozen=True, gc=False):
    """The scores that a verifier gives the steps of a path."""

    id: str
    scores: tuple[float, ...]
    """``scores[i]``, in [0, 1], is of the path up to the end of step ``i``."""
    computed_tokens: int
    """The tokens that the engine ran: those that were not in its prefix cache."""
    replica: str


Request = SampleRequest | ScoreRequest
Result = SampleResult | ScoreResult


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a request that can never be served (bad input, not a lost engine); it is not retried."""

    id: str
    error: str
    """The message of the RequestFailed that the caller gets, in one line."""
    replica: str


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a replica's engine, reported with its results."""

    running: int
    """The most requests that one step since the last report ran, with those that it finished; 0: no step."""
    waiting: int
    """Requests that wait in the engine now."""
    kv_usage: float
    """The largest share of the KV cache in use since the last report, in [0, 1]."""
    preemptions: int
    """The number of times that a running request was taken out for want of memory, since the start."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the user has to know of a replica, in one line; comes with its results."""

    line: str


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """Describes a replica whose engine is up."""

    name: str
    node: str
    """Ray's id of the node."""
    pid: int
    max_model_len: int
    """The largest length of prompt and output together, in tokens; 0 where it is not known."""
    max_num_seqs: int
    """The most requests that the engine runs at once."""
    kv_cache_tokens: int
    """The number of tokens whose keys and values fit in the cache; 0 where it is not known."""
    start_seconds: float
    dtype: str = ""
    """What the model computes in, as ``bfloat16``; empty where it is not known."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the start by phase (``EngineThread.phases``, and ``wait`` for a turn at a shared device)."""
    place: str = ""
    """The node's name, which its pool fills in; empty on this machine."""


def kept_logprob(value: float) -> float:
    """Returns a log-probability as results have it. Raises ValueError where it is none: NaN, or above 0."""
    if not value <= 1e-3:  # NaN too
        raise ValueError(f"{value} is no log-probability")
    return min(0.0, round(max(value, LEAST_LOGPROB), LOGPROB_DIGITS))


class RequestFailed(RuntimeError):
    """Raised for a request that is refused for good; the message names replica, input and reason."""


def check_logprobs(result: SampleResult, request: SampleRequest) -> None:
    """Raises RequestFailed unless every token has its log-probability, where they are asked for."""
    if request.logprobs and len(result.logprobs) != len(result.tokens):
        raise RequestFailed(
            f"{result.replica}, request {request.id}: {len(result.logprobs)} log-probabilities of "
            f"{len(result.tokens)} tokens; needed: one each"
        )


def check_scores(result: ScoreResult, request: ScoreRequest) -> None:
    """Raises RequestFailed unless every step has a score in [0, 1]; NaN is none."""
    steps = len(request.step_ends)
    good = [0 <= score <= 1 for score in result.scores]  # NaN is not
    if len(good) != steps or False in good:
        raise RequestFailed(
            f"{result.replica}, request {request.id}: the scores of {steps} steps are {result.scores}; "
            f"needed: as many, each from 0 to 1"
        )


class PoolFailed(RuntimeError):
    """Raised when replicas cannot be started, or all of them are gone for good."""
