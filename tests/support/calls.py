"""Short forms of calls to a replica."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.messages import Load, Request, SampleRequest, ScoreRequest

_ids = itertools.count()


def sample(prompt: tuple[int, ...], seed: int = 0, max_tokens: int = 20, **values: Any) -> SampleRequest:
    return SampleRequest(f"sample-{next(_ids)}", prompt, seed, max_tokens, **values)


def score(tokens: tuple[int, ...], *step_ends: int) -> ScoreRequest:
    return ScoreRequest(f"score-{next(_ids)}", tokens, step_ends)


def collect(replica: Any, count: int) -> list[Any]:
    """The next ``count`` results, in the order in which they came."""
    results: list[Any] = []
    while len(results) < count:
        found = ray.get(replica.collect.remote(), timeout=120)
        results += [each for each in found if not isinstance(each, Load)]
    return results


def answers(replica: Any, requests: Sequence[Request]) -> list[Any]:
    """The results of ``requests``, in their order."""
    ray.get(replica.submit.remote(list(requests)))
    return results_of(replica, requests)


def results_of(replica: Any, requests: Sequence[Request]) -> list[Any]:
    """The results of requests that were submitted, in their order. Others that come meanwhile are left out:
    what is aborted may be done already."""
    by_id: dict[str, Any] = {}
    while any(request.id not in by_id for request in requests):
        by_id |= {result.id: result for result in collect(replica, 1)}
    return [by_id[request.id] for request in requests]


def end(replica: Any) -> None:
    """Close its engine, and end its process."""
    ray.get(replica.shutdown.remote())
    ray.kill(replica)


def info_once_up(replica: Any) -> Any:
    """What the replica says of itself, after its restart if it is dead."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return ray.get(replica.info.remote(), timeout=120)
        except RayActorError:
            time.sleep(0.2)
    raise AssertionError("the replica did not come back")
