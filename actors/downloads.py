"""A replica's download of its model: as long as it gains bytes, whoever waits for the replica waits on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
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
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=model, repo_type="model")
    return Path(cache or constants.HF_HUB_CACHE) / folder / "blobs"


def bytes_in(folder: Path) -> int:
    """Returns how much of the disk a folder's files take, in bytes: a file may have its whole length before
    its content has come."""
    total = 0
    try:
        for path in folder.iterdir():
            total += path.stat().st_blocks * 512
    except OSError:  # it is not there yet, or a part has just become the whole
        return total
    return total


async def patiently(awaited: Awaitable[T], seconds: float) -> T:
    """Returns what ``awaited`` returns. Raises TimeoutError after so many seconds, without those in which a
    replica's download goes on: how long that takes depends on the network alone."""
    task = asyncio.ensure_future(awaited)
    clock = asyncio.get_running_loop().time
    left = seconds
    try:
        while left > 0:
            began = clock()
            await asyncio.wait([task], timeout=min(left, LOOK_SECONDS))
            if task.done():
                return task.result()
            if not PRINTED.says("download", QUIET_SECONDS):
                left -= clock() - began
        raise TimeoutError
    finally:
        task.cancel()
