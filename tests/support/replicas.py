"""Replicas of the actors' tests: what they can be asked beside what a pool asks."""

from __future__ import annotations

from typing import Any

from actors.engine_options import engine_options
from actors.generator import GeneratorActor
from actors.verifier import ScoreMemo, VerifierActor


class FragileGenerator(GeneratorActor):
    """Its engine can be broken from outside."""

    async def sabotage(self) -> None:
        """The next engine step raises."""

        def broken_step() -> Any:
            raise RuntimeError("sabotaged")

        self._engine._built.step = broken_step  # type: ignore[method-assign]

    async def engine_options(self, options: dict[str, Any]) -> None:
        """Raises if an engine would not take ``options``."""
        engine_options(self.model, dtype="float32", seed=0, options=options)


class ForgetfulVerifier(VerifierActor):
    """Its memo can be replaced."""

    async def remember(self, max_bytes: int) -> None:
        """Go on with an empty memo of ``max_bytes``."""
        self._memo = ScoreMemo(max_bytes)
