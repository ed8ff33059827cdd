"""What the GPUs that Ray holds for a replica mean for its process and its engine; vLLM is not imported.

Ray sets ``CUDA_VISIBLE_DEVICES``, or for AMD's GPUs ``HIP_VISIBLE_DEVICES``. It leaves them alone in an actor
that holds no GPU, and one over several GPUs holds them in its placement group: so a process finds out here
what is its own.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util import get_current_placement_group

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Devices:
    """The GPUs of one replica."""

    gpus: float
    """How many Ray holds for it; a part of one where replicas share a device."""
    ids: Sequence[str] = ()
    """Their ids on this node; empty where vLLM's own workers hold them."""

    @property
    def shared(self) -> bool:
        """Tells whether other replicas may be on the same device."""
        return 0 < self.gpus < 1

    def hide(self) -> None:
        """Hides every GPU from this process where none is its own."""
        if not self.gpus:
            # AMD's HIP and vLLM take an empty text for a variable that is not set; -1 is no device's number.
            os.environ[CUDA], os.environ[HIP] = "", "-1"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits until no other replica starts on the same device: an engine measures the device's memory as
        it starts, and takes a neighbour's growth for its own. A process that ends gives its turn up."""
        with ExitStack() as held:
            for id in self.ids if self.shared else ():
                file = held.enter_context(lock_of(id).open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def lock_of(id: str) -> Path:
    """Returns the file that is locked while a replica starts on a shared device of this node."""
    return Path(tempfile.gettempdir()) / f"ttc-{os.getuid()}-gpu-{id}.lock"


def own_devices() -> Devices | None:
    """Returns the GPUs of this process; None where it is no Ray actor, so that nobody has divided them."""
    if not ray.is_initialized() or (context := ray.get_runtime_context()).get_actor_id() is None:
        return None
    if (group := get_current_placement_group()) is not None:
        return Devices(sum(bundle.get("GPU", 0.0) for bundle in group.bundle_specs))
    return Devices(context.get_assigned_resources().get("GPU", 0.0), tuple(map(str, ray.get_gpu_ids())))


def sees_no_gpu(environment: Mapping[str, str]) -> bool:
    """Tells whether all GPUs of a machine, whoever made them, are hidden from a process."""
    return (environment.get(HIP) or environment.get(CUDA)) in ("", "-1")  # as HIP and vLLM read them


def number_devices(environment: MutableMapping[str, str]) -> None:
    """Numbers AMD's GPUs that ``ROCR_VISIBLE_DEVICES`` leaves, for Ray, which refuses that variable, as Slurm
    sets it, where ``HIP_VISIBLE_DEVICES`` does not choose among them."""
    if ROCR in environment and HIP not in environment and CUDA not in environment:
        left = [id for id in environment[ROCR].split(",") if id]
        environment[HIP] = ",".join(map(str, range(len(left))))
