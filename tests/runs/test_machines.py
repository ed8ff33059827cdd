"""What the machines of a run do is logged: one replica of each node is asked, and a fault costs nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from actors.handle import Lost
from actors.machine import Machine
from actors.pool import Pool
from orchestrator.runs.machines import log_machines
from orchestrator.runs.metrics import plain
from orchestrator.tracking.tracker import Step


class Replicas:
    """A pool of replicas, each on a node; those without a machine cannot be measured."""

    def __init__(self, nodes: dict[str, str], machines: dict[str, Any]) -> None:
        self.up = [SimpleNamespace(name=name, node=node) for name, node in nodes.items()]
        self._machines = machines
        self.asked: list[str] = []
        self.often = asyncio.Event()

    async def ask(self, name: str, method: str) -> Any:
        assert method == "machine"
        self.asked.append(name)
        if len(self.asked) == 6:
            self.often.set()
        found = self._machines[name]
        if isinstance(found, Exception):
            raise found
        return found, {"cpu_utilization_percentage": 50.0}


async def logged(*pools: Replicas, before: float = 0.0, here: Machine | None = None) -> list[list[Step]]:
    steps: list[list[Step]] = []
    logs = log_machines(cast(list[Pool], pools), steps.append, before, interval=0.01, here=here)
    task = asyncio.create_task(logs)
    async with asyncio.timeout(5):
        await pools[0].often.wait()
    assert not task.done()
    task.cancel()
    return steps


async def test_one_replica_of_each_node_is_asked() -> None:
    generators = Replicas({"g0": "a", "g1": "a", "g2": "b"}, {"g0": "one", "g1": "one", "g2": "two"})
    verifiers = Replicas({"v0": "b"}, {"v0": "two"})
    steps = await logged(generators, verifiers)
    assert {name for name, _, _ in steps[0]} == {
        "system/one/cpu_utilization_percentage",
        "system/two/cpu_utilization_percentage",
    }
    assert set(generators.asked) == {"g1"}
    assert set(verifiers.asked) == {"v0"}


async def test_what_cannot_be_measured_is_left_out() -> None:
    pool = Replicas(
        {"g0": "a", "g1": "b", "g2": "c"},
        {"g0": "one:1", "g1": Lost("gone"), "g2": AttributeError("machine")},
    )
    steps = await logged(pool)
    assert [name for name, _, _ in steps[0]] == ["system/one_1/cpu_utilization_percentage"]


async def test_machines_of_one_name_are_told_apart_by_their_nodes() -> None:
    pool = Replicas({"g0": "a" * 56, "g1": "b" * 56}, {"g0": "localhost", "g1": "localhost"})
    steps = await logged(pool)
    assert {name.split("/")[1] for name, _, _ in steps[0]} == {"localhost-aaaaaaaa", "localhost-bbbbbbbb"}


async def test_the_machine_of_the_controller_is_measured_once() -> None:
    here = Machine(gpus=False)
    for other, machines in (("two", {"two", here.name}), (here.name, {here.name})):
        steps = await logged(Replicas({"g0": "a"}, {"g0": other}), here=here)
        assert {name.split("/")[1] for name, _, _ in steps[0]} == {plain(machine) for machine in machines}


async def test_a_run_that_goes_on_goes_on_in_time() -> None:
    steps = await logged(Replicas({"g0": "a"}, {"g0": "one"}), before=120.0)
    assert all(step == 120 for _, _, step in steps[0])
