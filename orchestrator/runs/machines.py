"""Logs what the machines of a run do while it searches, as MLflow's system metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable

from actors.machine import Machine
from actors.pool import Pool
from orchestrator.errors import in_one_line
from orchestrator.runs.metrics import plain
from orchestrator.tracking.tracker import Step

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two measurements."""
FIRST = 2.0
"""Seconds until the first one: a search may last no longer than a few."""
PATIENCE = 5.0
"""Seconds in which a replica answers; one that does not is asked the next time."""
ID_LENGTH = 8
"""Characters of a node's id that tell it from others of its name."""


async def log_machines(
    pools: Iterable[Pool],
    sink: Callable[[list[Step]], None],
    before: float = 0.0,
    interval: float = INTERVAL,
    here: Machine | None = None,
) -> None:
    """Logs for ever what each machine that has a replica does, and the one that is ``here``, first after
    ``FIRST`` seconds, then every ``interval`` seconds.

    A metric is called ``system/MACHINE/cpu_utilization_percentage`` and so on (``actors.machine``); its step
    is the seconds of search, of which ``before`` were in earlier legs. One replica of each node is asked;
    what cannot be measured is left out, as are the servers behind endpoints. Nodes of one name have the
    beginning of their id beside it.
    """
    started, pools = time.monotonic() - before, list(pools)
    wait = min(FIRST, interval)
    while True:
        await asyncio.sleep(wait)
        wait = interval
        one_of_each = {info.node: (pool, info.name) for pool in pools for info in pool.up}
        found = await asyncio.gather(*(_measured(pool, name) for pool, name in one_of_each.values()))
        measured = {node: one for node, one in zip(one_of_each, found, strict=True) if one is not None}
        step = round(time.monotonic() - started)
        if here is not None and here.name not in {machine for machine, _ in measured.values()}:
            measured[""] = here.name, here.read()
        named = Counter(plain(machine) for machine, _ in measured.values())
        steps: list[Step] = []
        for node, (machine, values) in measured.items():
            name = plain(machine)
            name = name if named[name] == 1 else f"{name}-{node[:ID_LENGTH]}"
            steps += [(f"system/{name}/{what}", value, step) for what, value in values.items()]
        if steps:
            sink(steps)


async def _measured(pool: Pool, replica: str) -> tuple[str, dict[str, float]] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            machine: tuple[str, dict[str, float]] = await pool.ask(replica, "machine")
    except Exception as error:  # a replica of another kind, or one that has just been lost
        log.debug("the machine of %s is not measured: %s", replica, in_one_line(error))
        return None
    return machine
