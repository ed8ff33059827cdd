"""vLLM's own offline batch as a Ray actor, which the orchestrator is compared with."""

from __future__ import annotations

import time
from typing import Any

from actors.engine_options import engine_options, sampling_params
from actors.messages import SampleRequest


class OfflineActor:
    """``LLM.generate`` over a list of requests. The engine has a generator replica's arguments, except for
    what this project adds to vLLM: priorities, and reuse by the token."""

    def __init__(self, model: str, *, dtype: str = "float32", engine: dict[str, Any] | None = None) -> None:
        from vllm import LLM

        options = engine_options(model, dtype=dtype, seed=0, options=engine or {})
        self._llm = LLM(**{**options, "scheduling_policy": "fcfs", "kv_transfer_config": None})

    def generate(self, requests: list[SampleRequest]) -> tuple[float, int]:
        """Runs all requests in one blocking call; returns its seconds and the tokens it generated."""
        params = [
            sampling_params(seed=r.seed, max_tokens=r.max_tokens, temperature=r.temperature, top_p=r.top_p)
            for r in requests
        ]
        prompts: Any = [{"prompt_token_ids": list(request.prompt)} for request in requests]
        began = time.perf_counter()
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - began
        return seconds, sum(len(output.outputs[0].token_ids) for output in outputs)
