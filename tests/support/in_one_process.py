"""Replicas of several models in one process, one after the other: vLLM is imported once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import ray

from actors.messages import Load, ReplicaInfo, Request

Group = Sequence[Request] | Callable[[list[list[Any]]], Sequence[Request]]
"""Requests; or, given the results of all groups before, which they are."""


@ray.remote(num_cpus=0)
class OneAfterTheOther:
    """Starts a replica, asks it, and ends it, in each call."""

    async def answers(
        self, replica: type, model: str, options: dict[str, Any], groups: Sequence[Group]
    ) -> list[list[Any]]:
        """Returns the results of each group of requests; a group is asked when the one before is answered."""
        started = await asyncio.to_thread(replica, "replica", model, **options)
        self._info = await started.info()
        found: list[list[Any]] = []
        for group in groups:
            requests = group(found) if callable(group) else group
            await started.submit(list(requests))
            results: dict[str, Any] = {}
            while len(results) < len(requests):
                new = [each for each in await started.collect() if not isinstance(each, Load)]
                results |= {each.id: each for each in new}
            found.append([results[request.id] for request in requests])
        await started.shutdown()
        return found

    async def said(self) -> ReplicaInfo:
        """Returns what the last replica said of itself."""
        return self._info
