"""Says which replicas wait for a node that has room for them, and what is free meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ray.exceptions import RayError

from actors.cluster import SHOWN, Demand, Node, demand, nodes, room_for
from actors.pool import Pool

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""The time between two looks at what waits. What waits at two of them is told: Ray needs a moment to place an
actor where there is room."""


async def tell_waiting(pools: Sequence[Pool], notice: Callable[[str], None]) -> None:
    """Calls ``notice`` with one line when other replicas of these pools wait for room than before. It ends
    when it is cancelled."""
    before: dict[str, list[str]] = {}
    told: dict[str, list[str]] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not any(pool.absent for pool in pools):
            before, told = {}, {}
            continue
        try:
            asked, living = await asyncio.to_thread(_look)
        except (RayError, RuntimeError, OSError) as error:  # the head is away, or this is the end
            log.debug("what waits for room is not known: %s", error)
            continue
        for pool in pools:
            name = pool.spec.name
            now = asked.of(pool.spec, pool.absent)
            still = [replica for replica in now if replica in before.get(name, ())]
            if still and still != told.get(name):
                notice(waiting_line(pool, still, living))
            before[name], told[name] = now, still


def waiting_line(pool: Pool, replicas: Sequence[str], living: Sequence[Node]) -> str:
    """Says which replicas wait, what each needs, and what is free where."""
    more = f" and {len(replicas) - SHOWN} more" if len(replicas) > SHOWN else ""
    return f"waiting for room: {', '.join(replicas[:SHOWN])}{more} ({room_for(pool.spec, living)})"


def _look() -> tuple[Demand, list[Node]]:
    return demand(), nodes()
