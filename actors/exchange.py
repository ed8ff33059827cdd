"""The talk with one replica that is up: it is given requests and gives results, until it is lost.

Each of the loops here ends only with the error that says that the replica is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from actors.handle import Broken, Lost
from actors.member import Member
from actors.messages import Load, Notice, Request
from actors.requests import Requests
from actors.spec import PoolSpec

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # as in ``actors.pool``


async def until_one_raises(*loops: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Runs endless loops at once, and raises the first error of any."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        await asyncio.gather(*tasks)
        raise AssertionError("unreachable: the loops are endless")
    finally:
        for task in tasks:
            task.cancel()


async def submit(
    member: Member, requests: Requests, told: Callable[[str, Sequence[Request]], None]
) -> NoReturn:
    """Sends the replica what it has room for, and the ids of what is cancelled. ``told`` is called with its
    name and the requests before they are sent. Raises Lost, Gone or Broken."""
    while True:
        await member.wake.wait()
        member.wake.clear()
        # All of them: an id that comes again must not be taken before its abort was sent.
        while count := len(member.aborts):
            await member.handle.call("abort", member.aborts[:count])
            del member.aborts[:count]
        if batch := requests.take(member.name):
            told(member.name, batch)
            await member.handle.call("submit", batch)


async def collect(member: Member, requests: Requests, notice: Callable[[str], None]) -> NoReturn:
    """Takes the replica's results, loads and notices as they come. Raises Lost, Gone or Broken."""
    while True:
        answers = await member.handle.call("collect")
        member.heard = time.monotonic()
        results = [answer for answer in answers if not isinstance(answer, Load | Notice)]
        for answer in answers:
            if isinstance(answer, Load):
                member.load = answer
                requests.resize(member.name, member.limit.observe(answer, len(results)))
            elif isinstance(answer, Notice):
                log.warning("%s: %s", member.name, answer.line)
                notice(f"{member.name}: {answer.line}")
        if results:
            member.broken = 0
            requests.settle(member.name, results)


async def watch(member: Member, spec: PoolSpec) -> NoReturn:
    """Raises Lost if the replica is silent and does not answer a probe, or is another process by now."""
    while True:
        silent = time.monotonic() - member.heard
        if silent < spec.probe_after:
            await asyncio.sleep(spec.probe_after - silent)
            continue
        try:
            async with asyncio.timeout(spec.probe_timeout):
                await member.handle.call("ping")
                info = await member.handle.call("info")
        except TimeoutError:
            member.handle.restart()
            raise Lost(f"silent for {silent:.0f} s, then no token in {spec.probe_timeout:g} s") from None
        except Broken as error:
            member.handle.restart()
            raise Lost(f"silent for {silent:.0f} s, then {error.reason}", error.traceback) from error
        if member.info is not None and (info.node, info.pid) != (member.info.node, member.info.pid):
            raise Lost("it has been restarted, and knows nothing of its requests")
        member.heard = time.monotonic()
