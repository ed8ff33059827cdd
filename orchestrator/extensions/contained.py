"""Runs a user's coroutines so that ``sys.exit`` in them is an error like any other.

In a task of asyncio, SystemExit ends the event loop, and with it all that other problems have under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
OURS = tuple(f"{path}/" for path in (Path(__file__).parents[1], Path(__file__).parents[2] / "actors"))


class Exited(RuntimeError):
    """A user's code has called ``sys.exit``."""


async def contained(work: Awaitable[T]) -> T:
    """Returns what ``work`` does. Raises Exited, with the traceback of the exit, in the place of
    SystemExit."""
    try:
        return await work
    except SystemExit as error:
        raise exited(error) from None


def exited(error: SystemExit) -> Exited:
    """Returns the error that takes the place of an exit, with its traceback."""
    return Exited(f"SystemExit: {error.code}").with_traceback(error.__traceback__)


def _contained_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    """Makes a task, as an event loop's task factory; it contains a coroutine that is not this project's."""
    code = getattr(work, "cr_code", None)
    ours = code is not None and code.co_filename.startswith(OURS)
    return asyncio.Task(work if ours else contained(work), loop=loop, **options)


@contextmanager
def contained_tasks() -> Iterator[None]:
    """Lets the tasks of the running event loop be made so that each coroutine that is not this project's is
    ``contained``."""
    loop = asyncio.get_running_loop()
    usual = loop.get_task_factory()
    loop.set_task_factory(_contained_task)
    try:
        yield
    finally:
        loop.set_task_factory(usual)
