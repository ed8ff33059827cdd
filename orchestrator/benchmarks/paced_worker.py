"""vLLM's worker of a paced engine (``paced``); a module of its own, which vLLM imports."""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker  # vLLM 0.32: see actors/README.md

from orchestrator.benchmarks.paced import Device


class PacedWorker(CPUWorker):
    """Runs the model on the CPU, and sleeps until the device of ``additional_config`` would be done."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model: Any = self.vllm_config.additional_config
        self._parameters = model["parameters"]
        self._device = Device("", model["flops"], model["bandwidth"])
        self._due = 0.0

    def execute_model(self, scheduler_output: Any) -> Any:
        tokens = scheduler_output.total_num_scheduled_tokens
        self._due = time.perf_counter() + (self._device.seconds(self._parameters, tokens) if tokens else 0)
        output = super().execute_model(scheduler_output)
        if output is not None:  # else sample_tokens ends the step
            self._wait()
        return output

    def sample_tokens(self, grammar_output: Any) -> Any:
        output = super().sample_tokens(grammar_output)
        self._wait()
        return output

    def _wait(self) -> None:
        time.sleep(max(0.0, self._due - time.perf_counter()))
