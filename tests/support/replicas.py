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


class AsynchronousGenerator(GeneratorActor):
    """Its engine schedules a step while the one before runs, as on GPUs: on a CPU vLLM turns this off."""

    def __init__(self, name: str, model: str, **options: Any) -> None:
        from vllm.platforms.cpu import CpuPlatform

        settle = CpuPlatform.check_and_update_config

        def settle_asynchronous(config: Any) -> None:
            settle(config)
            config.scheduler_config.async_scheduling = True

        CpuPlatform.check_and_update_config = staticmethod(settle_asynchronous)  # type: ignore[method-assign]
        super().__init__(name, model, **options)

    async def steps_in_flight(self) -> int:
        """Engine steps that may be scheduled before the first of them has ended."""
        return self._engine._built.vllm_config.max_concurrent_batches


class ForgetfulVerifier(VerifierActor):
    """Its memo can be replaced, and its engine's steps counted."""

    async def steps(self) -> int:
        """Engine steps until now."""
        return self._engine.steps

    async def remember(self, max_bytes: int) -> None:
        """Go on with an empty memo of ``max_bytes``."""
        self._memo = ScoreMemo(max_bytes)
