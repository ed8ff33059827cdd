"""Measures the machine that a process runs on: its CPUs, memory, disk, network and GPUs.

The names are those of MLflow's own system metrics, which its page shows in a place of their own. MLflow
itself is not imported: an engine's process would be slower to start and larger by 100 MB.
"""

from __future__ import annotations

import platform
from typing import Any

import psutil

MEGABYTE = 1e6


class Machine:
    """Measures a machine; what is a rate is that since the last reading, or since this object was made.

    Without ``gpus`` it leaves these out, and does not load the library that reads them.
    """

    def __init__(self, *, gpus: bool = True) -> None:
        self.name = platform.node()
        psutil.cpu_percent()  # the first call has nothing to compare with, and returns 0
        self._network = psutil.net_io_counters()
        found: tuple[Any, list[Any]] = _gpus() if gpus else (None, [])
        self._nvml, self._gpus = found

    def read(self) -> dict[str, float]:
        """Returns the measurements by their names: percent, megabytes, watts."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
        network, before = psutil.net_io_counters(), self._network
        self._network = network
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
        }
        if network is not None and before is not None:  # None: it has no network
            found["network_receive_megabytes"] = (network.bytes_recv - before.bytes_recv) / MEGABYTE
            found["network_transmit_megabytes"] = (network.bytes_sent - before.bytes_sent) / MEGABYTE
        for i, gpu in enumerate(self._gpus):
            found |= {f"gpu_{i}_{what}": value for what, value in self._gpu(gpu).items()}
        return found

    def _gpu(self, gpu: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
            found["memory_usage_megabytes"] = memory.used / MEGABYTE
            found["memory_usage_percentage"] = 100 * memory.used / memory.total
            found["utilization_percentage"] = self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu
            found["power_usage_watts"] = self._nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
        except self._nvml.NVMLError:  # a device tells what it can, and a slice of one tells less
            pass
        return found


def _gpus() -> tuple[Any, list[Any]]:
    """Returns NVIDIA's library and a handle of each GPU of this machine; none where there is no driver."""
    try:
        from vllm.third_party import pynvml
    except ImportError:
        return None, []
    try:
        pynvml.nvmlInit()
        return pynvml, [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return None, []
