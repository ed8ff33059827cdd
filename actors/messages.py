"""Requests and results: the only things that cross a process border.

Text is token ids everywhere, so that a child's prompt is its parent's tokens, bit for bit, and an
engine's prefix cache can reuse them. A result names its request by ``id``.

Those of which there is one an operation are msgspec's structs: frozen dataclasses, but made in a tenth of the
time and pickled in a third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

Until = Literal["step", "thought", "end"]
"""Where sampling stops: at the next step delimiter, at the marker that ends the model's thinking, or at
the end of the solution."""

Finish = Literal["step", "thought", "end", "length"]
"""Why it stopped: the step delimiter, the marker, the end-of-sequence token, or ``max_tokens``."""


class SampleRequest(msgspec.Struct, frozen=True, gc=False):
    """Continue ``prompt`` by at most ``max_tokens`` tokens.

    ``seed`` alone determines the sample where the engine is deterministic, so a retry on another
    replica returns the same tokens. ``temperature`` 0 is greedy. ``affinity`` names what shares a
    prefix (a problem): a pool prefers the replica that holds those KV blocks. A lower ``priority``
    is served first.
    """

    id: str
    prompt: tuple[int, ...]
    seed: int
    max_tokens: int
    until: Until = "step"
    temperature: float = 1.0
    top_p: float = 1.0
    affinity: str = ""
    priority: int = 0


class SampleResult(msgspec.Struct, frozen=True, gc=False):
    """``tokens`` are the new tokens only, the step delimiter, marker or end-of-sequence token
    included.

    ``computed_tokens`` is what the engine's scheduler really ran for it: prompt tokens that were
    not in the prefix cache, decoded tokens less the last (which is never fed back), and what it had to
    compute again after a preemption.
    """

    id: str
    tokens: tuple[int, ...]
    finish: Finish
    computed_tokens: int
    replica: str


class ScoreRequest(msgspec.Struct, frozen=True, gc=False):
    """Score each step of a path. Step ``i`` ends before position ``step_ends[i]`` of ``tokens``
    (exclusive, increasing, the last equal to ``len(tokens)``)."""

    id: str
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...]
    affinity: str = ""
    priority: int = 0


class ScoreResult(msgspec.Struct, frozen=True, gc=False):
    """``scores[i]`` in [0, 1] is the verifier's score of the path up to the end of step ``i``.

    ``computed_tokens`` counts the tokens the engine really ran (those not in its prefix cache).
    """

    id: str
    scores: tuple[float, ...]
    computed_tokens: int
    replica: str


Request = SampleRequest | ScoreRequest
Result = SampleResult | ScoreResult


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that this replica can never answer (bad input, not a lost engine): the search that
    asked gets ``error`` raised, and no retry is made."""

    id: str
    error: str
    replica: str


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica's engine holds, as it says with its results: the most requests that one of its steps
    since the last report ran, those that it finished included (0: there was no step); requests that wait for
    room now; the largest share of its KV cache in use since the last report, in [0, 1]; and how often it has
    taken a running request out again for want of memory, since its start."""

    running: int
    waiting: int
    kv_usage: float
    preemptions: int


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What a replica says of itself once its engine is up."""

    name: str
    node: str
    pid: int
    max_model_len: int
    max_num_seqs: int
    kv_cache_tokens: int
    start_seconds: float


class RequestFailed(RuntimeError):
    """A replica refused the request for good; the message names replica, input and reason."""


def check_scores(result: ScoreResult, request: ScoreRequest) -> None:
    """Raises RequestFailed unless every step has its score: what is recorded is believed for ever."""
    steps = len(request.step_ends)
    good = [0 <= score <= 1 for score in result.scores]  # NaN is not
    if len(good) != steps or False in good:
        raise RequestFailed(
            f"{result.replica}, request {request.id}: the scores of {steps} steps are {result.scores}; "
            f"needed: as many, each from 0 to 1"
        )


class PoolFailed(RuntimeError):
    """Replicas could not be started, or all of them are gone for good."""
