"""Remote calls to one replica, and the three ways in which they fail.

A pool reaches Ray only through this module, so tests and benchmarks give it replicas in its own process
instead of a ``RayReplicaHandle``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.faults import last_frame, reason, traceback_text

if TYPE_CHECKING:
    from actors.spec import PoolSpec


class ReplicaError(Exception):
    """Raised by a call to a replica. Its text is one line: the reason, and the last frame of the traceback.

    Attributes:
        reason: the remote exception in one line, as ``ValueError: …``.
        traceback: the whole remote traceback; empty if there is none.
    """

    def __init__(self, reason: str, traceback: str = "") -> None:
        self.reason = reason
        self.traceback = traceback
        frame = last_frame(traceback)
        super().__init__(f"{reason} ({frame})" if frame else reason)


class Lost(ReplicaError):
    """The replica cannot be reached; it is being restarted, or may come back."""


class Gone(ReplicaError):
    """The replica is dead and is not restarted: its constructor raised, or it was killed for good."""


class Broken(ReplicaError):
    """A method of the replica raised."""


class ReplicaHandle(Protocol):
    """One replica, as its pool sees it."""

    id: str
    """The name by which the cluster knows the replica's actor."""

    async def call(self, method: str, *args: Any) -> Any:
        """Returns the result of a method of ``actors.replica.Replica``. Raises Lost, Gone or Broken.

        A caller that is cancelled stops waiting; the remote method runs on.
        """

    def restart(self) -> None:
        """Kills the process of a replica that hangs; Ray starts another in its place."""

    def kill(self) -> None:
        """Ends the replica for good."""


class RayReplicaHandle:
    """A replica that is a Ray actor. Ray restarts it when it dies, on any node with the resources it needs.

    A replica over several GPUs has a placement group with one bundle a GPU, on one node where that is
    possible. The actor runs in the first bundle and holds no GPU: vLLM puts a worker into each bundle.
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
        self.id = self._actor._actor_id.hex()

    async def call(self, method: str, *args: Any) -> Any:
        try:
            return await getattr(self._actor, method).remote(*args)
        except ActorDiedError as error:
            raise Gone(reason(error), traceback_text(error)) from error
        except RayTaskError as error:
            raise Broken(reason(error), traceback_text(error)) from error
        except RayError as error:  # the actor, its node, its memory or the way to it
            raise Lost(reason(error), traceback_text(error)) from error

    def restart(self) -> None:
        ray.kill(self._actor, no_restart=False)

    def kill(self) -> None:
        ray.kill(self._actor)
        if self._group is not None:
            remove_placement_group(self._group)
