"""Nodes that are to end, and say so before: their replicas get successors elsewhere, and serve meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc
from ray.exceptions import RayError

from actors.cluster import leaving
from actors.pool import Pool

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""The time between two looks: a node that is told to end has half a minute, as a rule."""


async def replace_leaving(pools: Sequence[Pool]) -> None:
    """Has the pools replace their replicas on nodes that are to end. It ends when it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            nodes = await asyncio.to_thread(leaving)
        except (grpc.RpcError, RayError, RuntimeError, OSError) as error:  # the head is away
            log.debug("which nodes are to end is not known: %s", error)
            continue
        for pool in pools:
            pool.replace_on(nodes)
