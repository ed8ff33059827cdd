"""A machine is measured under the names of MLflow's system metrics."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from vllm.third_party import pynvml

from actors import machine
from actors.machine import Machine


def test_names_are_mlflows_own() -> None:
    monitors = [CPUMonitor(), NetworkMonitor()]
    for monitor in monitors:
        monitor.collect_metrics()
    own = {name for monitor in monitors for name in monitor.metrics}
    assert own <= set(Machine().read())


def test_the_processor_is_measured_between_two_readings() -> None:
    measured = Machine()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        hashlib.sha256(b"x" * 10_000).digest()
    found = measured.read()
    assert 0 < found["cpu_utilization_percentage"] <= 100
    assert 0 < found["system_memory_usage_percentage"] < 100
    assert found["network_receive_megabytes"] >= 0


def test_each_gpu_tells_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """Two devices, of which the second has no meter of power."""

        NVMLError = pynvml.NVMLError

        @staticmethod
        def nvmlDeviceGetMemoryInfo(gpu: int) -> Any:
            return type("Memory", (), {"used": 20e9, "total": 80e9})

        @staticmethod
        def nvmlDeviceGetUtilizationRates(gpu: int) -> Any:
            return type("Rates", (), {"gpu": 40 + gpu})

        @staticmethod
        def nvmlDeviceGetPowerUsage(gpu: int) -> int:
            if gpu:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return 350_000

    monkeypatch.setattr(machine, "_gpus", lambda: (Driver, [0, 1]))
    found = {name: value for name, value in Machine().read().items() if name.startswith("gpu_")}
    assert found == {
        "gpu_0_memory_usage_megabytes": 20e3,
        "gpu_0_memory_usage_percentage": 25,
        "gpu_0_utilization_percentage": 40,
        "gpu_0_power_usage_watts": 350,
        "gpu_1_memory_usage_megabytes": 20e3,
        "gpu_1_memory_usage_percentage": 25,
        "gpu_1_utilization_percentage": 41,
    }


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has GPUs")
    assert not any(name.startswith("gpu_") for name in Machine().read())
