"""The way to one replica: remote calls, and what can become of them.

``RayReplicaHandle`` is the real one. A pool knows no other Ray than this, so it can be driven against
replicas in its own process (tests, benchmarks of the controller).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

if TYPE_CHECKING:
    from actors.spec import PoolSpec


class Lost(Exception):
    """The replica cannot be reached; it is being restarted, or may come back."""


class Gone(Exception):
    """The replica is dead and is not restarted: what made it raised, or it was killed for good."""


class Broken(Exception):
    """The replica answered with an exception of its own."""


class ReplicaHandle(Protocol):
    """One replica, as its pool sees it."""

    async def call(self, method: str, *args: Any) -> Any:
        """The result of a method of ``actors.replica.Replica``. Cancelling it does not cancel the call.
        Raises Lost, Gone or Broken."""

    def restart(self) -> None:
        """Kill the process of a replica that hangs; another takes its place."""

    def kill(self) -> None:
        """End it for good."""


class RayReplicaHandle:
    """A Ray actor, restarted by Ray when it dies, on any node that has what it asks for.

    A replica over several GPUs has a placement group with a bundle for each, on one node where that is
    possible. The actor is in the first and holds no GPU itself: vLLM puts a worker into each bundle.
    """

    def __init__(self, spec: PoolSpec, name: str) -> None:
        wanted: dict[str, Any] = {
            "num_cpus": spec.num_cpus,
            "num_gpus": spec.num_gpus,
            "resources": spec.custom,
        }
        self._group: PlacementGroup | None = None
        if spec.num_gpus > 1:
            first = {**({"CPU": spec.num_cpus} if spec.num_cpus else {}), **spec.custom}
            rest = [{"GPU": 1.0} for _ in range(int(spec.num_gpus) - 1)]
            self._group = placement_group([{"GPU": 1.0, **first}, *rest], strategy="PACK")
            inside = PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
            wanted |= {"num_gpus": 0, "scheduling_strategy": inside}
        options = ray.remote(spec.replica).options(max_restarts=-1, max_task_retries=0, **wanted)
        self._actor: Any = options.remote(name, spec.model, **spec.options)

    async def call(self, method: str, *args: Any) -> Any:
        try:
            return await getattr(self._actor, method).remote(*args)
        except ActorDiedError as error:
            raise Gone(reason(error)) from error
        except RayTaskError as error:
            raise Broken(reason(error)) from error
        except RayError as error:  # the actor, its node, its memory or the way to it
            raise Lost(reason(error)) from error

    def restart(self) -> None:
        ray.kill(self._actor, no_restart=False)

    def kill(self) -> None:
        ray.kill(self._actor)
        if self._group is not None:
            remove_placement_group(self._group)


def reason(error: BaseException) -> str:
    """The last telling line of a remote traceback."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and ":" in line]
    return (telling or lines or [type(error).__name__])[-1]


def cluster_resources() -> str:
    """What the cluster has, in words."""
    total = ray.cluster_resources()
    return f"{total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU"
