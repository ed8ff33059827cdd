"""What a replica without a process of its own is: a link to itself, and never lost."""

from __future__ import annotations

from typing import Any

from actors.messages import ScoreRequest, ScoreResult


class InProcess:
    """The part of a replica and of its handle in which there is nothing to do."""

    name: str

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self, method)(*args)

    def restart(self) -> None: ...

    def kill(self) -> None: ...

    async def abort(self, ids: list[str]) -> None: ...

    async def ping(self) -> float:
        return 0.0

    async def forget(self) -> None: ...

    async def shutdown(self) -> None: ...

    def scored(self, request: ScoreRequest, computed: int) -> ScoreResult:
        """Scores that depend on the path alone, for which ``computed`` tokens were computed."""
        scores = tuple(request.tokens[end - 1] / 16 for end in request.step_ends)
        return ScoreResult(request.id, scores, computed, self.name)
