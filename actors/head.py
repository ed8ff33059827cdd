"""The head of the cluster while a run lasts: a run whose head is lost ends with a word, and can go on later.

Ray's own code would abort this process instead, from another thread, with a stack of C++.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ray._raylet import Config  # type: ignore[attr-defined]

from actors.cluster import answers
from actors.messages import PoolFailed

LOOK_SECONDS = 5.0
"""Seconds between two looks at the head."""
VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"
PATIENCE = 60.0
"""Seconds that Ray's nodes wait for their head before they end, unless ``VARIABLE`` says otherwise."""
LONGER = 600.0
"""Seconds for which this process could wait for longer than they do: enough to end in good order."""


@dataclass(frozen=True)
class Head:
    """The head of a cluster that this process has joined."""

    address: str
    """``host:port``."""
    patience: float
    """Seconds for which it is awaited where it is away."""
    raylet: str = ""
    """The socket of the Ray node of this machine, through which this process belongs to the cluster."""


def outlive_the_head() -> float:
    """Keeps Ray from aborting this process where the head is away; to be called before it joins. Returns the
    seconds for which a head is awaited: those of the nodes, by ``VARIABLE``.

    Raises ConnectionError where the variable is no number.
    """
    given = os.environ.setdefault(f"TTC_{VARIABLE}", os.environ.get(VARIABLE) or f"{PATIENCE:g}")
    try:
        patience = float(given)
    except ValueError:
        raise ConnectionError(f"{VARIABLE}: {given!r} is not usable; allowed: seconds") from None
    os.environ[VARIABLE] = str(int(patience + LONGER))
    Config.initialize("")  # Ray has read the variable when it was imported
    return patience


def listens(path: str) -> bool:
    """Tells whether a process listens at a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as way:
            way.settimeout(LOOK_SECONDS)
            way.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:  # it is busy
        pass
    return True


@asynccontextmanager
async def watched(head: Head, notice: Callable[[str], None]) -> AsyncIterator[None]:
    """Cancels what is done inside, and raises PoolFailed, where the head does not answer for as long as it is
    awaited, or the Ray node of this machine has ended. ``notice`` is called with one line when it is away,
    and when it is back."""
    task, lost, named = asyncio.current_task(), "", f"the head of the Ray cluster at {head.address}"
    assert task is not None

    async def watch() -> None:
        nonlocal lost
        away: float | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            if await asyncio.to_thread(answers, head.address):
                if head.raylet and not await asyncio.to_thread(listens, head.raylet):
                    lost = "the Ray node of this machine has ended"
                    task.cancel()
                    return
                if away is not None:
                    notice(f"{named} is back")
                away = None
            elif away is None:
                away = now
                notice(f"{named} does not answer; it is awaited for {head.patience:g} s")
            elif now - away >= head.patience:
                lost = f"{named} has not answered for {now - away:.0f} s"
                task.cancel()
                return

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not lost or task.uncancel():
            raise
        raise PoolFailed(lost) from None
    finally:
        watching.cancel()
