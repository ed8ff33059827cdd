"""Logs what the machines of a run do while it searches, as MLflow's system metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from actors.pool import Pool
from orchestrator.errors import in_one_line
from orchestrator.runs.metrics import plain
from orchestrator.tracking.tracker import Step

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two measurements."""
PATIENCE = 5.0
"""Seconds in which a replica answers; one that does not is asked the next time."""


async def log_machines(
    pools: Iterable[Pool], sink: Callable[[list[Step]], None], interval: float = INTERVAL
) -> None:
    """Logs for ever, every ``interval`` seconds, what each machine that has a replica does.

    A metric is called ``system/MACHINE/cpu_utilization_percentage`` and so on (``actors.machine``); its step
    is the seconds of search. One replica of each node is asked; what cannot be measured is left out, as are
    the servers behind endpoints.
    """
    started, pools = time.monotonic(), list(pools)
    while True:
        await asyncio.sleep(interval)
        one_of_each = {info.node: (pool, info.name) for pool in pools for info in pool.up}
        found = await asyncio.gather(*(_measured(pool, name) for pool, name in one_of_each.values()))
        step = round(time.monotonic() - started)
        by_machine = dict(one for one in found if one is not None)
        if by_machine:
            sink(_steps(by_machine, step))


def _steps(by_machine: Mapping[str, Mapping[str, float]], step: int) -> list[Step]:
    return [
        (f"system/{plain(machine)}/{what}", value, step)
        for machine, values in by_machine.items()
        for what, value in values.items()
    ]


async def _measured(pool: Pool, replica: str) -> tuple[str, dict[str, float]] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            machine: tuple[str, dict[str, float]] = await pool.ask(replica, "machine")
    except Exception as error:  # a replica of another kind, or one that has just been lost
        log.debug("the machine of %s is not measured: %s", replica, in_one_line(error))
        return None
    return machine
