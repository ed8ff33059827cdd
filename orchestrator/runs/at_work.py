"""The searches of a run that are at work, and where in its strategy each one is."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import users_place
from orchestrator.runs.controller import Search
from orchestrator.search.context import Usage
from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node


@dataclass
class AtWork:
    """Searches that have begun and have not ended, by their problems."""

    on_begin: Callable[[str], None] = lambda problem: None
    """Is called with the problem of each search that begins."""
    ended: int = 0
    _searches: dict[str, Awaitable[Sequence[Node]]] = field(default_factory=dict)
    _usages: list[Usage] = field(default_factory=list)
    """Those of all searches that have begun: what is under way as a search ends is still counted there."""

    def noting(self, search: Search) -> Search:
        """Returns the same search, which is noted while it is at work."""

        async def searched(ops: Operations) -> Sequence[Node]:
            self.on_begin(ops.problem.id)
            steps = search(ops)
            self._searches[ops.problem.id] = steps
            self._usages.append(ops.usage)
            try:
                return await steps
            finally:
                del self._searches[ops.problem.id]
                self.ended += 1

        return searched

    @property
    def operations(self) -> int:
        """The operations that have begun, also in searches that have ended."""
        return sum(usage.operations for usage in self._usages)

    @property
    def tokens(self) -> int:
        """The tokens that were sampled, also for searches that have ended."""
        return sum(usage.fresh_tokens for usage in self._usages)

    @property
    def places(self) -> dict[str, list[str]]:
        """The problems by the line of the user's strategy at which their searches wait, as ``file.py:12 in
        search``; those in no file of a user's are left out."""
        found: dict[str, list[str]] = {}
        for problem, steps in self._searches.items():
            if (place := users_place(_frames(steps))) is not None:
                found.setdefault(place, []).append(problem)
        return found


def _frames(steps: Any) -> list[traceback.FrameSummary]:
    """The frames of a coroutine that waits, the outermost first."""
    frames = []
    while (frame := getattr(steps, "cr_frame", None)) is not None:
        frames.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        steps = steps.cr_await
    return frames
