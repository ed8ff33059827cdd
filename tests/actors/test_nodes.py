"""Pools on several Ray nodes with logical GPUs: placement, a node that is lost, a node that joins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from ray.exceptions import AuthenticationError, RayError
from ray.util.placement_group import placement_group_table

from actors import deployment, leaving
from actors.cluster import joined
from actors.messages import PoolFailed, ReplicaInfo, SampleRequest, SampleResult
from actors.pool import Pool
from actors.spec import PoolSpec
from tests.support.echo import Echo, request

pytestmark = pytest.mark.cluster


class OnNode(Echo):
    """Says on which node it is, and what of its group's GPUs are where."""

    async def info(self) -> ReplicaInfo:
        return replace(await super().info(), node=ray.get_runtime_context().get_node_id())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without GPUs, and two nodes with two each: each test leaves as many."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=2)
        cluster.wait_for_nodes()
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextmanager
def another_node(cluster: Cluster, **resources: Any) -> Iterator[None]:
    """A node that joins, and leaves at the end."""
    node = cluster.add_node(num_cpus=2, **resources)
    try:
        yield
    finally:
        cluster.remove_node(node)


def spec(replicas: int, gpus: float, **values) -> PoolSpec:
    return PoolSpec("echo", OnNode, "model", replicas, num_cpus=1, num_gpus=gpus, **values)


async def answered(pool: Pool, numbers: range) -> list[SampleResult]:
    requests: list[SampleRequest] = [request(i) for i in numbers]
    results = await asyncio.wait_for(asyncio.gather(*map(pool.run, requests)), 60)
    assert [result.tokens for result in results] == [(i,) for i in numbers]
    return results


async def test_a_replica_over_two_gpus_has_both_on_one_node_and_leaves_none_behind(cluster: Cluster):
    pool = Pool(spec(2, 2))
    await pool.start(60)
    try:
        groups = [table for table in placement_group_table().values() if table["state"] == "CREATED"]
        nodes = [set(table["bundles_to_node_id"].values()) for table in groups]
        assert [bundle["GPU"] for table in groups for bundle in table["bundles"].values()] == [1.0] * 4
        assert sorted(map(len, nodes)) == [1, 1]
        assert {info.node for info in pool.infos} == set.union(*nodes)
        await answered(pool, range(20))
        assert ray.available_resources().get("GPU", 0) == 0
    finally:
        await pool.close()
    for _ in range(100):
        if ray.available_resources().get("GPU", 0) == 4:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"GPUs are still held: {ray.available_resources()}")


async def test_a_lost_nodes_work_is_done_elsewhere_and_a_new_node_takes_its_place(cluster: Cluster):
    pool = Pool(spec(2, 2, options={"seconds": 0.05}, start_timeout=10))
    notices: list[str] = []
    pool.on_notice = notices.append
    await pool.start(60)
    try:
        first = {info.name: info.node for info in pool.infos}
        assert len(set(first.values())) == 2
        work = asyncio.create_task(answered(pool, range(300)))
        await asyncio.sleep(0.5)
        lost = next(node for node in cluster.list_all_nodes() if node.node_id == first["echo-0"])
        cluster.remove_node(lost, allow_graceful=False)
        results = await work
        assert {result.replica for result in results[-20:]} == {"echo-1"}
        assert [info.name for info in pool.up] == ["echo-1"]
        assert any(line.startswith("echo-0 is lost") for line in notices)

        for _ in range(600):  # what waits for a node is made anew, and waits again
            if any("not up after 10 s" in line for line in notices):
                break
            await asyncio.sleep(0.1)
        assert len(pool.up) == 1
        cluster.add_node(num_cpus=2, num_gpus=2)
        for _ in range(600):
            if len(pool.up) == 2:
                break
            await asyncio.sleep(0.1)
        assert any(line.startswith("echo-0 is back after") for line in notices)
        assert {result.replica for result in await answered(pool, range(1000, 1100))} == {"echo-0", "echo-1"}
    finally:
        await pool.close()


async def test_a_replica_of_a_drained_node_serves_until_another_is_up_elsewhere(
    cluster: Cluster, monkeypatch
):
    monkeypatch.setattr("actors.cluster.LOOPBACK", "elsewhere")  # where a machine without a network has nodes
    monkeypatch.setattr(leaving, "LOOK_SECONDS", 0.2)
    pool = Pool(spec(2, 2, options={"seconds": 0.05}))
    notices: list[str] = []
    pool.on_notice = notices.append
    await pool.start(60)
    looking = asyncio.create_task(leaving.replace_leaving([pool]))
    try:
        drained, other = (info.node for info in sorted(pool.infos, key=lambda info: info.name))
        why = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        assert GcsClient(address=joined()).drain_node(drained, why, "a spot node", 0)[0]
        await heard(notices, "echo-0 gets a successor: its node is to end")
        assert {result.replica for result in await answered(pool, range(100))} == {"echo-0", "echo-1"}
        cluster.add_node(num_cpus=2, num_gpus=2)
        await heard(notices, "echo-0 is back after")
        results = await answered(pool, range(1000, 1100))
        assert {result.replica for result in results} == {"echo-0", "echo-1"}
        now = {member.info.node for member in pool._members.values() if member.info}
        assert other in now
        assert len(now - {drained}) == 2
        cluster.remove_node(next(node for node in cluster.list_all_nodes() if node.node_id == drained))
        assert len(pool.up) == 2
    finally:
        looking.cancel()
        await pool.close()


async def heard(notices: list[str], words: str) -> None:
    for _ in range(600):
        if any(line.startswith(words) for line in notices):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{words}: {notices}")


async def test_replicas_beyond_the_least_join_when_a_node_does(cluster: Cluster):
    pool = Pool(spec(3, 2, least=1, options={"seconds": 0.05}))
    await pool.start(60)
    try:
        await answered(pool, range(20))
        with another_node(cluster, num_gpus=2):
            for _ in range(600):
                if len(pool.up) == 3:
                    break
                await asyncio.sleep(0.1)
            assert len({info.node for info in pool.up}) == 3
            assert len({result.replica for result in await answered(pool, range(100, 300))}) == 3
            await pool.close()
    finally:
        await pool.close()


async def test_a_custom_resource_keeps_a_pool_to_its_nodes(cluster: Cluster):
    with another_node(cluster, num_gpus=0, resources={"verifiers": 2}):
        pool = Pool(spec(2, 0, custom={"verifiers": 1}))
        await pool.start(60)
        try:
            (node,) = {info.node for info in pool.infos}
            assert next(n for n in ray.nodes() if n["NodeID"] == node)["Resources"]["verifiers"] == 2
        finally:
            await pool.close()
        crowded = Pool(spec(1, 2, custom={"verifiers": 1}))
        with pytest.raises(
            PoolFailed, match=r"each needs 1 CPU and 2 GPU and 1 verifiers; free: .*no node is large enough"
        ):
            await crowded.start(2)
        await crowded.close()


@pytest.mark.parametrize("error", [RayError("no room\nfor it"), AuthenticationError("no room\nfor it")])
def test_what_ray_says_as_it_joins_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def refused(options: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(deployment, "_init", refused)
    monkeypatch.setattr(deployment, "check_cluster", lambda address: address)
    monkeypatch.setattr(deployment, "outlive_the_head", lambda: 60.0)
    with pytest.raises(PoolFailed, match=r"^cluster.address=head:6379: .*no room for it"):
        deployment.connect("head:6379", [])
