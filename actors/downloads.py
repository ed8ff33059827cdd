"""A replica's download of its model: as long as it gains bytes, whoever waits for the replica waits on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from actors.printed import PRINTED, say_phase

T = TypeVar("T")

SAY_SECONDS = 5.0
"""The time between two looks at how much has come."""
QUIET_SECONDS = 30.0
"""A download that has not said for so long that it gains anything is one that hangs."""
LOOK_SECONDS = 1.0
"""The time between two looks at whether a download goes on."""


@contextmanager
def told_of(folder: Path) -> Iterator[None]:
    """Says, on standard output, that what is done inside downloads into ``folder``, and says it again with
    the amount whenever that has grown."""
    say_phase("download")
    done = threading.Event()

    def tell() -> None:
        before = bytes_in(folder)
        while not done.wait(SAY_SECONDS):
            now = bytes_in(folder)
            if now > before:
                say_phase("download", f"{now / 1e9:,.1f} GB" if now >= 1e9 else f"{now / 1e6:.0f} MB")
            before = now

    teller = threading.Thread(target=tell, name="download", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def hub_folder(model: str, cache: str | None) -> Path:
    """Returns where a hub model's files are written; ``cache`` None is the hub's own cache."""
    from huggingface_hub import constants

    return Path(cache or constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "blobs"


def bytes_in(folder: Path) -> int:
    """Returns how much of the disk a folder's files take, in bytes: a file may have its whole length before
    its content has come. What cannot be read counts nothing."""
    total = 0
    with suppress(OSError):  # it is not there yet
        for path in folder.iterdir():
            with suppress(OSError):  # a part has just become the whole
                total += path.stat().st_blocks * 512
    return total


async def patiently(awaited: Awaitable[T], seconds: float, replicas: Collection[str]) -> T:
    """Returns what ``awaited`` returns. Raises TimeoutError after so many seconds, without those in which a
    download goes on for which one of the ``replicas`` waits: how long that takes depends on the network
    alone."""
    task = asyncio.ensure_future(awaited)
    clock = asyncio.get_running_loop().time
    left = seconds
    try:
        while True:
            began = clock()
            await asyncio.wait([task], timeout=max(0.0, min(left, LOOK_SECONDS)))
            if task.done():
                return task.result()
            if not waits_for_a_download(replicas):
                left -= clock() - began
            if not left > 0:
                raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def waits_for_a_download(replicas: Collection[str]) -> bool:
    """Tells whether one of the replicas downloads, or waits for its turn at a device on which another one
    may."""
    now, phases = time.monotonic(), PRINTED.phases()
    going_on = {
        name for name, one in phases.items() if one.name == "download" and now - one.said < QUIET_SECONDS
    }
    turn = any(name in phases and phases[name].name == "wait" for name in replicas)
    return bool(going_on if turn else going_on.intersection(replicas))
